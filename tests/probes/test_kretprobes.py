# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes: what their handlers see and can change, and which calls they follow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.machine.loaders import DEMO
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage

NZCV = 0xF000_0000
RET = 0xD65F03C0


def test_entry_and_return(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Against what the CPU has at the first instruction and in the caller, without a probe."""
    snapshot = demo.snapshot()
    names = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]
    demo.run(until="kmalloc")
    entry = [demo.registers[name] for name in names]
    back, sp = entry[30], entry[31]
    while True:
        demo.run(until=back)
        if demo.registers.sp == sp:
            break
    after = [demo.registers[name] for name in names]
    demo.restore(snapshot)
    seen: list[list[int]] = []
    instances = []

    def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
        seen.append([*regs.regs, regs.sp, regs.pc, regs.pstate])
        instances.append((ri, ri.ret_addr, ri.fp))

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        seen.append([*regs.regs, regs.sp, regs.pc, regs.pstate])
        assert ri is instances[-1][0]
        assert ri.ret_addr == back

    probe = kprobes.register_kretprobe(
        Kretprobe("kmalloc", handler=returned, entry_handler=entered, stop=[Stage.RETURN])
    )
    demo.run()
    assert seen[0] == entry
    assert instances[0][1:] == (back, entry[29])
    trampoline = seen[1][30]
    assert trampoline in demo.scratch
    expected = list(after)
    expected[30] = trampoline
    assert seen[1] == expected
    hits = list(kprobes.hits)
    assert [h.stage for h in hits] == [Stage.ENTRY, Stage.RETURN]
    assert [h.number for h in hits] == [1, 1]
    assert hits[1].caller == back
    assert [*hits[1].regs.regs, hits[1].regs.sp, hits[1].regs.pc, hits[1].regs.pstate] == expected
    assert probe.hits == 1


def test_all_registers_survive_the_trampoline(
    demo: machine.Machine, kprobes: Kprobes, code: Callable[..., int]
) -> None:
    kprobes.register_kretprobe(Kretprobe("insn_nop"))
    back = code(RET)
    for flags in (0, NZCV, 0x9000_0000):
        values = [0x1111_0000_0000_0000 + i for i in range(30)]
        for i, value in enumerate(values):
            demo.registers.x[i] = value
        demo.registers.x[30] = back
        demo.registers.pc = demo.symbols["insn_nop"].address
        demo.registers.pstate = demo.registers.pstate & ~NZCV | flags
        pstate, sp = demo.registers.pstate, demo.registers.sp
        assert demo.run(until=back, instructions=1000).reason is StopReason.UNTIL
        assert [demo.registers.x[i] for i in range(31)] == [*values, back]
        assert (demo.registers.sp, demo.registers.pstate) == (sp, pstate)


def test_what_a_return_handler_can_change(demo: machine.Machine, kprobes: Kprobes) -> None:
    """In v6.1 x0 to x29 and NZCV; pc and x30 not."""

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        regs.regs[0] = -12
        regs.regs[17] = 0x17
        regs.pstate ^= NZCV
        regs.regs[30] = 0xBAD
        regs.pc = 0xBAD

    kprobes.register_kretprobe(Kretprobe("insn_nop", handler=returned))
    demo.run(until="insn_nop")
    back, flags = demo.registers.x[30], demo.registers.pstate & NZCV
    demo.run(until=back)
    assert demo.registers.x[0] == (1 << 64) - 12
    assert demo.registers.x[17] == 0x17
    assert demo.registers.x[30] == back
    assert demo.registers.pstate & NZCV == flags ^ NZCV


@pytest.mark.parametrize("trampoline", ["direct", "brk"])
def test_enabled_after_the_guest_has_mapped_its_text(trampoline: str) -> None:
    """Registered disabled before that, it had no trampoline: calls would have returned to address 0."""
    demo = machine.load(DEMO)
    kprobes = Kprobes(demo, trampoline=trampoline)
    probe = kprobes.register_kretprobe(Kretprobe("strlen", disabled=True))
    demo.run(instructions=100_000)
    kprobes.enable(probe)
    assert demo.run(instructions=2_000_000).reason is StopReason.INSTRUCTIONS
    assert probe.hits > 10


def test_entry_handler_that_declines(demo: machine.Machine, kprobes: Kprobes) -> None:
    returns: list[int] = []
    probe = kprobes.register_kretprobe(
        Kretprobe(
            "insn_nop",
            handler=lambda ri, regs: returns.append(regs.regs[0]),
            entry_handler=lambda ri, regs: regs.regs[0] % 2,
            maxactive=1,
        )
    )
    for i in range(6):
        assert demo.call("insn_nop", i) == i
    assert returns == [0, 2, 4]
    assert probe.nmissed == 0


def test_data(demo: machine.Machine, kprobes: Kprobes) -> None:
    """entry_handler leaves the argument for the return handler, at every depth of the recursion."""
    pairs: list[tuple[int, int]] = []

    def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
        ri.data[:8] = regs.regs[0].to_bytes(8, "little")

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        pairs.append((int.from_bytes(ri.data[:8], "little"), regs.regs[0]))

    kprobes.register_kretprobe(Kretprobe("fib", handler=returned, entry_handler=entered, maxactive=20, data_size=8))
    assert demo.call("fib", 10) == 55
    fibonacci = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55]
    assert all(result == fibonacci[n] for n, result in pairs)
    assert len(pairs) == 177


def test_pool_runs_out(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The outermost calls are followed, and the innermost of them returns first."""
    arguments: list[tuple[int, int]] = []
    order: list[tuple[int, int]] = []

    def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
        ri.data = (regs.regs[0], regs.regs[1])
        arguments.append(ri.data)

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        order.append(ri.data)

    # hanoi(disks) goes down disks + 1 deep on its first path; 2**(disks + 1) - 1 calls in all.
    probe = kprobes.register_kretprobe(Kretprobe("hanoi", handler=returned, entry_handler=entered, maxactive=3))
    assert demo.call("hanoi", 3, 1, 2, 3) == 7
    depth_of_call = {3: 1, 2: 2, 1: 4, 0: 8}
    followed = [d for d in (3, 2, 1) for _ in range(depth_of_call[d])]
    assert sorted(d for d, _ in arguments) == sorted(followed)
    assert probe.nmissed == depth_of_call[0]
    assert [d for d, _ in order] == [1, 1, 2, 1, 1, 2, 3]
    assert probe.kp.nmissed == 0
    assert list(kprobes.outstanding) == []


def test_two_on_one_function(demo: machine.Machine, kprobes: Kprobes) -> None:
    order: list[str] = []
    links: list[int] = []

    def make(name: str) -> Kretprobe:
        def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
            order.append(f"entry {name}")
            links.append(regs.regs[30])

        def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
            order.append(f"return {name}")
            links.append(ri.ret_addr)

        return Kretprobe("insn_nop", handler=returned, entry_handler=entered)

    kprobes.register_kretprobe(make("old"))
    kprobes.register_kretprobe(make("new"))
    assert demo.call("insn_nop", 5) == 5
    assert order == ["entry new", "entry old", "return old", "return new"]
    back = demo.return_address
    # the second to run sees the trampoline where the first put it; return handlers see where the call goes back to
    assert links[0] == back
    assert links[1] in demo.scratch
    assert links[1] != back
    assert links[2:] == [back, back]


def test_kprobe_and_kretprobe_together(demo: machine.Machine, kprobes: Kprobes) -> None:
    order: list[str] = []
    kprobes.register_kretprobe(Kretprobe("fib", handler=lambda ri, regs: order.append("return"), maxactive=20))
    kprobes.register_kprobe(Kprobe("fib", pre_handler=lambda p, regs: order.append("pre")))
    assert demo.call("fib", 2) == 1
    assert order == ["pre", "pre", "return", "pre", "return", "return"]


def test_tail_call(demo: machine.Machine, kprobes: Kprobes) -> None:
    """call_pcrel_bcond ends in a branch to pcrel_bcond: two functions, one return."""
    order: list[str] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        assert ri.rp is not None
        order.append(ri.rp.name)

    for name in ("call_pcrel_bcond", "pcrel_bcond"):
        kprobes.register_kretprobe(Kretprobe(name, handler=returned))
    assert demo.call("call_pcrel_bcond", 3, 9) == 9
    assert order == ["pcrel_bcond", "call_pcrel_bcond"]


def test_return_in_another_task(demo: machine.Machine, kprobes: Kprobes) -> None:
    """__switch_to is entered in one task and returns in another, on that task's stack."""
    pairs: list[tuple[int, int]] = []
    sps: list[int] = []

    def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
        ri.data = regs.sp

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        pairs.append((ri.data, regs.sp))
        sps.append(regs.sp)

    probe = kprobes.register_kretprobe(Kretprobe("__switch_to", handler=returned, entry_handler=entered))
    demo.run(instructions=3_000_000)
    assert len(pairs) > 20
    assert all(entry == back for entry, back in pairs)
    assert len(set(sps)) >= 2
    assert probe.nmissed == 0


def test_probes_in_a_return_handler_are_missed(demo: machine.Machine, kprobes: Kprobes) -> None:
    results: list[int] = []
    inner = kprobes.register_kprobe(Kprobe("pcrel_leaf"))
    inner_return = kprobes.register_kretprobe(Kretprobe("pcrel_leaf"))
    kprobes.register_kretprobe(
        Kretprobe("insn_nop", handler=lambda ri, regs: results.append(demo.call("pcrel_leaf", 4)))
    )
    assert demo.call("insn_nop", 1) == 1
    assert results == [12]
    assert (inner.hits, inner.nmissed) == (0, 1)
    assert (inner_return.hits, inner_return.nmissed, inner_return.kp.nmissed) == (0, 0, 1)
    assert demo.call("pcrel_leaf", 4) == 12
    assert (inner.hits, inner_return.hits) == (1, 1)


def test_handlers_that_raise(demo: machine.Machine, kprobes: Kprobes) -> None:
    def fail(ri: KretprobeInstance, regs: PtRegs) -> None:
        raise ValueError("at return")

    probe = kprobes.register_kretprobe(Kretprobe("fib", handler=fail, entry_handler=fail, maxactive=20))
    assert demo.call("fib", 8) == 21
    assert probe.hits == 67
    assert [(e.probe, e.stage) for e in kprobes.errors] == [(probe, Stage.ENTRY)]


def test_interrupted_return_handler(demo: machine.Machine, kprobes: Kprobes) -> None:
    calls: list[int] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        calls.append(regs.regs[0])
        if len(calls) == 1:
            raise KeyboardInterrupt

    kprobes.register_kretprobe(Kretprobe("kmalloc", handler=returned, stop=[Stage.RETURN]))
    with pytest.raises(KeyboardInterrupt):
        demo.run()
    assert demo.run().reason is StopReason.PROBE
    assert calls[0] == calls[1] == demo.registers.x[0]


def test_unregister_while_calls_are_outstanding(demo: machine.Machine, kprobes: Kprobes) -> None:
    returns: list[int] = []
    probe = kprobes.register_kretprobe(
        Kretprobe("hanoi", handler=lambda ri, regs: returns.append(regs.regs[0]), maxactive=20)
    )
    demo.run(until="hanoi")
    sp, back, disks = demo.registers.sp, demo.registers.x[30], demo.registers.x[0]
    demo.run(until="hanoi")
    demo.run(until="hanoi")
    assert len(kprobes.outstanding) >= 2
    kprobes.unregister(probe)
    before = len(returns)
    while True:
        demo.run(until=back)
        if demo.registers.sp == sp:
            break
    assert demo.registers.x[0] == 2**disks - 1
    assert len(returns) == before
    assert list(kprobes.outstanding) == []
    again = kprobes.register_kretprobe(Kretprobe("hanoi", maxactive=20))
    assert demo.call("hanoi", 3, 1, 2, 3) == 7
    assert again.hits == 15


def test_return_from_nowhere_stops_and_says_so(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.register_kretprobe(Kretprobe("insn_nop"))
    demo.run(until=demo.symbols["insn_nop"].address + 4)
    demo.registers.sp -= 64  # what no function may do
    back = demo.symbols["insn_round"].address
    stop = demo.run(instructions=1000)
    assert stop.reason is StopReason.PROBE
    assert "fails to find correct return address" in stop.text
    assert demo.run(instructions=1000).text == stop.text  # not lost: it says it again
    demo.registers.pc, demo.registers.x[30], demo.registers.sp = back, back, demo.registers.sp + 0x150 + 64
    assert demo.run(until=back + 4, instructions=10).reason is StopReason.UNTIL


def test_a_return_handler_ends_the_hit_of_a_pre_handler_that_redirected(demo: machine.Machine) -> None:
    """trampoline_probe_handler() of v4.8 leaves no current_kprobe, whatever was before; without a handler it does."""
    kprobes = Kprobes(demo, "v4.8")
    returned = kprobes.register_kretprobe(Kretprobe("kfree"))

    def skip_the_function(probe: Kprobe, regs: PtRegs) -> int:
        regs.pc = regs.regs[30]
        return 1

    kprobes.register_kprobe(Kprobe("virt_to_page", pre_handler=skip_the_function))
    other = kprobes.register_kprobe(Kprobe("checksum_mix"))
    kprobes.reset_current_kprobe()
    for handler, counted in ((None, (0, 1)), (lambda instance, regs: None, (1, 1))):
        returned.handler = handler
        demo.call("kfree", 0)
        demo.call("checksum_mix", 1, 2)
        assert (other.hits, other.nmissed) == counted
        kprobes.reset_current_kprobe()


@pytest.mark.parametrize("era", ["v4.8", "v5.10", "v6.1"])
@pytest.mark.parametrize("sp", [0x1000, 0xFFFF_9000_0000_0000, 0xFFFF_FFFF_FFFF_FFF0])
def test_trampoline_without_a_stack(demo: machine.Machine, era: str, sp: int) -> None:
    """A debugger has put the stack pointer where no memory is: at the entry, and again in the trampoline.

    The machine stops with a sentence, and the instance waits on.
    """
    kprobes = Kprobes(demo, era)
    probe = kprobes.register_kretprobe(Kretprobe("insn_nop", maxactive=2))
    demo.run(until="insn_nop")
    good, demo.registers.sp = demo.registers.sp, sp
    demo.step()  # the return address is taken
    (call,) = kprobes.outstanding
    back = call.ret_addr
    demo.registers.sp = good
    demo.run(until=demo.registers.x[30])
    while demo.memory.u32(demo.registers.pc) & 0xFFE0_001F != 0xD400_0002:  # HVC
        demo.run(instructions=1)
    demo.registers.sp = sp - kprobes.era.hits.frame.size
    for _ in range(2):  # not lost: it says it again
        stop = demo.run()
        assert (stop.reason, stop.address) == (StopReason.PROBE, demo.registers.pc)
        assert f"has stack pointer {demo.registers.sp:#x}, where there is no memory" in stop.text
        assert (kprobes.outstanding, len(probe.free)) == ([call], 1)
    demo.registers.sp, demo.registers.pc, demo.registers.x[30] = good, back, back
    assert demo.run(until=back + 4, instructions=10).reason is StopReason.UNTIL
    assert demo.call("insn_nop", 7) == 7
    assert (probe.hits, probe.nmissed, probe.kp.nmissed) == (2, 0, 0)


@pytest.mark.parametrize("above", [0x80, 0x400], ids=["frame on two pages", "frame on one page"])
def test_the_frame_is_where_the_stack_is(demo: machine.Machine, kprobes: Kprobes, above: int) -> None:
    """`above`: the caller's stack pointer above the start of a page. struct pt_regs has some 300 bytes."""
    seen = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        seen.append((regs.regs[0], regs.regs[19], regs.sp))
        regs.regs[0], regs.regs[20] = 77, 0x2020

    kprobes.register_kretprobe(Kretprobe("strlen", handler=returned))
    text = demo.symbols["linux_banner"].address if "linux_banner" in demo.symbols else demo.symbols["strlen"].address
    length = len(demo.memory.read(text, 4096).split(b"\0")[0])
    sp = demo.registers.sp & ~0xFFF | above
    back = demo.registers.pc
    demo.registers.sp, demo.registers.pc = sp, demo.symbols["strlen"].address
    demo.registers["x0"], demo.registers["x19"], demo.registers["x20"], demo.registers["x30"] = text, 0x1919, 0, back
    demo.run(until=back)
    assert seen == [(length, 0x1919, sp)]
    assert [demo.registers[name] for name in ("x0", "x19", "x20", "sp", "pc")] == [77, 0x1919, 0x2020, sp, back]
