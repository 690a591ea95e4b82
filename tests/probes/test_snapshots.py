# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back: what was put into the guest's memory comes and goes with it, and probes work on either side."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.probes import Hit, Jprobe, Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage


def told(hits: list[Hit]) -> list[tuple[object, ...]]:
    return [(h.probe.name, h.stage, h.instructions, h.general, h.pstate, h.caller) for h in hits]


def test_memory_of_instances(demo: machine.Machine) -> None:
    """Up to v5.4 it is the guest's, and given back to it when the call returns, after a restore too."""
    kprobes = Kprobes(demo, "v5.4")
    rp = kprobes.register_kretprobe(Kretprobe("slab_round", maxactive=3))
    demo.run(until="slab_round")
    back = demo.registers.x[30]
    demo.run(until="kmalloc")
    (call,) = kprobes.outstanding
    memory = call.memory
    snapshot = demo.snapshot()
    freed: list[int] = []
    kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: freed.append(regs.regs[0])))
    kprobes.unregister(rp)
    assert len(freed) == 2
    demo.run(until=back)
    assert freed[-1] == memory
    since = kprobes.register_kretprobe(Kretprobe("slab_round", maxactive=3))
    demo.restore(snapshot)
    freed.clear()
    kprobes.unregister(since)  # which has nothing in this memory
    assert freed == []
    demo.run(until=back)
    assert freed[-1] == memory


def test_unused_instances_have_their_memory_again(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    rp = kprobes.register_kretprobe(Kretprobe("slab_round", maxactive=3))
    snapshot = demo.snapshot()
    demo.run(until="slab_round")
    demo.run(instructions=100_000)
    demo.restore(snapshot)
    freed: set[int] = set()
    kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: freed.add(regs.regs[0])))
    kprobes.unregister(rp)
    assert len(freed - {0}) == 3


def test_the_same_hits_again(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.register_kprobe(Kprobe("kfree"))
    kprobes.register_kprobe(Kprobe("pcrel_tbz"))
    kprobes.register_kretprobe(Kretprobe("fib", maxactive=20))
    demo.run(instructions=100_000)
    snapshot = demo.snapshot()
    kprobes.hits.clear()
    demo.run(instructions=60_000)
    first = told(list(kprobes.hits))
    assert {stage for _, stage, *_ in first} == set(Stage)
    end = demo.instructions, demo.registers.pc, demo.registers.sp
    for _ in range(2):
        demo.restore(snapshot)
        assert not [hit for hit in kprobes.hits if hit.instructions > demo.instructions]
        kprobes.hits.clear()
        demo.run(instructions=60_000)
        assert (demo.instructions, demo.registers.pc, demo.registers.sp) == end
        assert told(list(kprobes.hits)) == first


def test_calls_outstanding_in_a_snapshot(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Their return addresses are the machine's state: they are given back however often it is restored."""
    returns: list[int] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        returns.append(regs.regs[0])

    probe = kprobes.register_kretprobe(Kretprobe("hanoi", handler=returned, maxactive=20))
    demo.run(until="hanoi")
    back, sp, disks = demo.registers.x[30], demo.registers.sp, demo.registers.x[0]
    for _ in range(3):
        demo.run(until="hanoi")
    depth = len(kprobes.outstanding)
    assert depth >= 2
    snapshot = demo.snapshot()
    returns.clear()

    def finish() -> int:
        while demo.run(until=back) and demo.registers.sp != sp:
            pass
        return demo.registers.x[0]

    assert finish() == 2**disks - 1
    expected = list(returns)
    demo.restore(snapshot)
    assert len(kprobes.outstanding) == depth
    returns.clear()
    assert finish() == 2**disks - 1
    assert returns == expected
    assert (list(kprobes.outstanding), probe.nmissed) == ([], 0)

    demo.restore(snapshot)
    kprobes.unregister(probe)
    returns.clear()
    assert finish() == 2**disks - 1
    assert returns == []
    demo.restore(snapshot)  # with a probe that is gone meanwhile
    assert finish() == 2**disks - 1


def test_probe_made_after_the_snapshot(demo: machine.Machine, kprobes: Kprobes) -> None:
    snapshot = demo.snapshot()
    kprobe = kprobes.register_kprobe(Kprobe("insn_nop"))
    kretprobe = kprobes.register_kretprobe(Kretprobe("pcrel_leaf"))
    for _ in range(3):
        demo.restore(snapshot)
        assert (kprobe.hits, kretprobe.hits) == (0, 0)
        assert (demo.call("insn_nop", 5), demo.call("pcrel_leaf", 5)) == (5, 15)
        assert (kprobe.hits, kretprobe.hits) == (1, 1)


def test_probe_removed_after_the_snapshot(demo: machine.Machine, kprobes: Kprobes) -> None:
    word = demo.memory.u32(demo.symbols["insn_nop"].address)
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    snapshot = demo.snapshot()
    kprobes.unregister(probe)
    demo.restore(snapshot)
    assert demo.memory.u32(demo.symbols["insn_nop"].address) == word
    assert demo.call("insn_nop", 5) == 5
    assert probe.hits == 0


def test_back_to_before_the_text_was_mapped() -> None:
    m = machine.load("demo")
    kprobes = Kprobes(m)
    start = m.snapshot()
    m.run(until="workload_run")
    probe = kprobes.register_kprobe(Kprobe("start_kernel"))
    kretprobe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    m.run(instructions=500_000)
    first = kretprobe.hits
    assert (probe.hits, first > 0) == (0, True)
    m.restore(start)
    m.run(instructions=1_000_000)
    assert probe.hits == 1
    assert kretprobe.hits > first
    m.reset()
    m.run(instructions=1_000_000)
    assert probe.hits == 1


def test_back_from_a_stop(demo: machine.Machine, kprobes: Kprobes) -> None:
    """What the stop had in mind is forgotten; no hit is left half done."""
    snapshot = demo.snapshot()
    probe = kprobes.register_kprobe(Kprobe("kfree", stop=[Stage.PRE]))
    other = kprobes.register_kretprobe(Kretprobe("kmalloc", stop=[Stage.ENTRY]))
    stops = set()
    for _ in range(3):
        demo.restore(snapshot)
        stops.add((demo.run().detail.probe, demo.run().detail.probe, demo.instructions))
        kprobes.disable(other)
        assert demo.run().detail.probe is probe
        kprobes.enable(other)
    assert len(stops) == 1
    assert (probe.nmissed, other.nmissed, other.kp.nmissed) == (0, 0, 0)
    at_stop = demo.snapshot()
    probe.stop.clear()
    other.stop.clear()
    for _ in range(2):
        demo.restore(at_stop)
        demo.run(instructions=200_000)
    assert (probe.nmissed, other.nmissed, other.kp.nmissed, kprobes.errors) == (0, 0, 0, [])


@pytest.mark.parametrize(
    ("era", "stepping"),
    [("v4.8", "ss"), ("v5.4", "ss"), ("v6.1", "brk"), ("v6.1", "branch"), ("v6.9", "brk"), ("v7.2", "brk")],
)
def test_in_the_middle_of_a_hit(demo: machine.Machine, era: str, stepping: str) -> None:
    """Wherever the snapshot is taken, also where the instruction is executed out of line, all that follows is the same.

    Probes made or removed in between make no difference to the hit.
    """
    kprobes = Kprobes(demo, era, stepping)
    log: list[tuple[str, int]] = []

    def post(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        log.append((probe.name, demo.instructions))

    handled = None if stepping == "branch" else post
    probe = kprobes.register_kprobe(Kprobe("kfree", post_handler=handled))
    kprobes.register_kretprobe(Kretprobe("kfree", handler=lambda ri, regs: log.append(("return", demo.instructions))))
    demo.run(until="kfree")
    start = demo.snapshot()
    demo.run(instructions=400)
    end = [*(demo.registers[name] for name in ("pc", "sp", "x0", "mdscr_el1")), demo.instructions]
    expected = list(log)
    assert len(expected) >= (1 if stepping == "branch" else 2)
    assert probe.site is not None
    slot, eret = probe.site.slot, demo.core.software_step.eret
    # Also before and behind the instruction in its slot. In a slot of one word, the CPU's step comes first.
    own = [eret] if stepping == "ss" else [slot, slot + 4]
    places = [1, 2, 3, 4, *own]
    for place in places:
        demo.restore(start)
        log.clear()
        demo.run(until=place) if place in own else demo.run(instructions=place)
        assert (demo.registers.pc in demo.scratch) is (place in own)
        done = len(log)
        middle = demo.snapshot()
        for change in (False, True):
            if change:
                other = kprobes.register_kprobe(Kprobe("strlen"))
                demo.run(instructions=100)
                kprobes.unregister(probe)
                kprobes.unregister(other)
            log.clear()
            demo.restore(middle)
            demo.run(instructions=end[-1] - demo.instructions)
            if not change:
                assert log == expected[done:]
                assert [*(demo.registers[name] for name in ("pc", "sp", "x0", "mdscr_el1")), demo.instructions] == end
        assert "Oops" not in demo.console.read().decode()
        probe.addr = None
        probe.disabled = False
        kprobes.register_kprobe(probe)


def test_going_back_takes_no_more_slots(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Snapshots of snapshots: the slots in use are those of the probes there are."""
    for name in ("kfree", "strlen", "kmalloc"):
        kprobes.register_kprobe(Kprobe(name))
    first = demo.snapshot()
    for _ in range(3):
        demo.restore(demo.snapshot())
    assert demo.snapshot().state["scratch"] == first.state["scratch"]


def test_a_jprobe_about_to_be_called(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    sizes: list[int] = []
    kprobes.register_jprobe(Jprobe("kmalloc", entry=lambda size: sizes.append(size)))
    demo.run(until="kmalloc")
    demo.run(instructions=1)
    while demo.registers.pc in demo.scratch:
        middle = demo.snapshot()
        sizes.clear()
        demo.run(instructions=20_000)
        first = list(sizes)
        sizes.clear()
        demo.restore(middle)
        assert demo.run(instructions=20_000).reason is machine.StopReason.INSTRUCTIONS
        assert sizes == first != []
        demo.restore(middle)
        demo.run(instructions=1)


def test_saving_is_refused_while_there_are_probes(demo: machine.Machine, kprobes: Kprobes, tmp_path: Path) -> None:
    """A resumed file would have breakpoints that nobody handles."""
    path = tmp_path / "demo.snapshot"
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    with pytest.raises(machine.MachineError, match="unregister all"):
        demo.save(path)
    kprobes.unregister(probe)
    demo.save(path)
    assert machine.load(path).run(instructions=1_000_000).reason is machine.StopReason.INSTRUCTIONS


def test_slots_after_a_reset(demo: machine.Machine) -> None:
    """Each probe has its own: what a probe had before the reset is given out once, not again as what was never used."""
    kprobes = Kprobes(demo)
    kprobes.register_kprobe(Kprobe("kfree"))
    demo.reset()
    demo.run(until="workload_round")
    for name in ("kmalloc", "memset", "strlen", "fib"):
        kprobes.register_kprobe(Kprobe(name))
    slots = [site.slot for site in kprobes._sites.values() if site.slot]
    assert len(set(slots)) == len(slots) >= 4
    demo.console.read()
    demo.run(until=demo.symbols["batch_report"].address)
    demo.run(until=demo.registers.x[30])
    assert b" ok" in demo.console.read()


def test_text_that_was_patched_since(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Going back puts the instruction back that was there at that time."""
    address = demo.symbols["kfree"].address
    before, add = demo.memory.read(address, 4), (0x91000400).to_bytes(4, "little")  # add x0, x0, #1
    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: None))
    snapshot = demo.snapshot()
    kprobes.unregister(probe)
    demo.memory.write(address, add)
    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: None))
    later = demo.snapshot()
    kprobes.unregister(probe)
    demo.restore(snapshot)
    assert demo.memory.read(address, 4) == before
    demo.restore(later)
    assert demo.memory.read(address, 4) == add


def test_the_memory_of_checkpoints_is_known(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Hits, which checkpoints near each other share, and what is counted; and pages. By Python's allocator, and Linux.

    Pages that are free in the file are used again: it does not grow.
    """
    kprobes.register_kprobe(Kprobe("cmp_u32"))
    kprobes.register_kretprobe(Kretprobe("kmalloc", maxactive=20))
    stacks = kprobes.on("kmalloc", key="stack").count()
    demo.run(instructions=3_000_000)
    gc.collect()
    tracemalloc.start()
    try:
        store = demo.checkpoints._store
        size, allocated, pages = demo.checkpoints.size, tracemalloc.get_traced_memory()[0], store.size

        def known() -> bool:
            gc.collect()
            took = tracemalloc.get_traced_memory()[0] - allocated
            return took <= demo.checkpoints.size - size - (store.size - pages) <= 2 * took

        def in_file() -> int:
            return os.fstat(store._file).st_blocks * 512

        kept = []
        for number in range(40):
            demo.run(instructions=20_000 * (number % 5 + 1))
            kept.append((demo.checkpoints.take(), stacks.counted()))
        assert known()
        assert store.size == (full := in_file()) > 0
        for checkpoint, _ in kept[1:-1:2]:
            demo.checkpoints.drop(checkpoint)
        assert known()
        for checkpoint, _ in kept[2:-2:2]:
            demo.checkpoints.drop(checkpoint)
        assert known()
        assert store.size < full // 2
    finally:
        tracemalloc.stop()
    demo.run(instructions=20_000)
    demo.checkpoints.take()
    assert in_file() == full
    first, counted = kept[0]
    assert len(counted) > 1
    demo.checkpoints.restore(first)
    assert stacks.counted() == counted
