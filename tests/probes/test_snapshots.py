# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back: what was put into the guest's memory comes and goes with it, and probes work on either side."""

from __future__ import annotations

from pathlib import Path

import pytest

from armprobe import machine
from armprobe.probes import Hit, Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage


def told(hits: list[Hit]) -> list[tuple[object, ...]]:
    return [(h.probe.name, h.stage, h.instructions, h.general, h.pstate, h.caller) for h in hits]


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
    for i in range(3):
        demo.restore(snapshot)
        assert (demo.call("insn_nop", 5), demo.call("pcrel_leaf", 5)) == (5, 15)
        assert (kprobe.hits, kretprobe.hits) == (i + 1, i + 1)


def test_probe_removed_after_the_snapshot(demo: machine.Machine, kprobes: Kprobes) -> None:
    word = demo.memory.read_u32(demo.symbols["insn_nop"].address)
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    snapshot = demo.snapshot()
    kprobes.unregister(probe)
    demo.restore(snapshot)
    assert demo.memory.read_u32(demo.symbols["insn_nop"].address) == word
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
    assert probe.hits == 2


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


def test_saving_is_refused_while_there_are_probes(demo: machine.Machine, kprobes: Kprobes, tmp_path: Path) -> None:
    """A resumed file would have breakpoints that nobody handles."""
    path = tmp_path / "demo.snapshot"
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    with pytest.raises(machine.MachineError, match="unregister all"):
        demo.save(path)
    kprobes.unregister(probe)
    waiting = kprobes.register_kretprobe(Kretprobe("workload_round"))
    while not kprobes.outstanding:
        demo.run(instructions=1000)
    kprobes.unregister(waiting)
    with pytest.raises(machine.MachineError, match="have yet to return"):
        demo.save(path)
    while kprobes.outstanding:
        demo.run(instructions=1000)
    demo.save(path)
    assert machine.load(path).run(instructions=1_000_000).reason is machine.StopReason.INSTRUCTIONS
