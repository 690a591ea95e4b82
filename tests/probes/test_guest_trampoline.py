# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes on a kretprobe trampoline that the guest has itself; on a Linux guest tests/oracle/live compares them.

The guest here is the demo kernel with such a trampoline put into it, which is never executed: it ends in a BRK that
nobody handles.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import ERAS, Kprobe, Kprobes, Kretprobe, ProbeError, PtRegs, Stage
from armprobe.probes.trampoline import DIRECT, HVC, words

BL, BRK, RECORD = 0x9400_0000, 0xD420_0000, 26  # RECORD: the number of the instruction that makes x29 a frame record
Put = Callable[[str], int]


@pytest.fixture
def put(add_function: Callable[..., int]) -> Put:
    """put(era): the address of that era's `direct` trampoline in `demo`, and of a symbol for it."""

    def write(era: str) -> int:
        instructions = list(words(DIRECT, ERAS[era].hits.frame))
        call = instructions.index(HVC)
        instructions[call] = BL | len(instructions) - call
        return add_function("kretprobe_trampoline", *instructions, BRK)

    return write


def on_all(kprobes: Kprobes, start: int) -> list[Kprobe]:
    """A kprobe on each instruction of the trampoline that there can be one on."""
    probes = []
    for address in range(start, start + kprobes.machine.symbols["kretprobe_trampoline"].size, 4):
        with contextlib.suppress(ProbeError):  # MRS of DAIF, MSR
            probes.append(kprobes.register_kprobe(Kprobe(addr=address)))
    return probes


@pytest.mark.parametrize("stepping", ["ss", "brk", "branch"])
@pytest.mark.parametrize("era", ["v4.8", "v5.4", "v5.10", "v6.1"])
def test_on_each_instruction(demo: machine.Machine, put: Put, era: str, stepping: str) -> None:
    start = put(era)
    kprobes = Kprobes(demo, era, stepping=stepping, trampoline=DIRECT)
    probes = on_all(kprobes, start)
    assert len(probes) > 40
    told: Counter[int] = Counter()
    for probe in probes:
        probe.pre_handler = lambda p, regs: told.update([regs.pc - (p.addr or 0)])
    returns: list[int] = []
    kprobes.register_kretprobe(Kretprobe("fib", handler=lambda ri, regs: returns.append(regs.regs[0]), maxactive=20))
    sp = demo.registers.sp
    assert demo.call("fib", 6) == 8
    assert len(returns) == 25
    assert {probe.hits for probe in probes} == {25}
    assert told == {0: 25 * len(probes)}
    assert demo.registers.sp == sp
    kprobes.unregister_kprobes(probes)
    assert demo.call("fib", 6) == 8
    assert len(returns) == 50


def test_of_another_layout(demo: machine.Machine, put: Put) -> None:
    """The guest's kernel is not of the era: what our kretprobes return through is not that code."""
    start = put("v5.10")
    kprobes = Kprobes(demo, "v6.1")
    probes = on_all(kprobes, start)
    kprobes.register_kretprobe(Kretprobe("fib", maxactive=20))
    assert demo.call("fib", 6) == 8
    assert not any(probe.hits for probe in probes)


@pytest.mark.parametrize("stage", [Stage.PRE, Stage.POST])
@pytest.mark.parametrize("number", [0, 1, 28, 49])  # 28 is the call, 49 RET
def test_stopped_at(demo: machine.Machine, put: Put, number: int, stage: Stage) -> None:
    """The stop is where handlers are told that it is, and a snapshot of it can be gone on from."""
    start = put("v6.1")
    kprobes = Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe(addr=start + 4 * number, stop=[stage]))
    returns: list[int] = []
    kprobes.register_kretprobe(Kretprobe("fib", handler=lambda ri, regs: returns.append(regs.regs[0]), maxactive=20))
    demo.run(until="fib")
    caller, sp, argument = demo.registers.x[30], demo.registers.sp, demo.registers.x[0]
    stop = demo.run()
    assert (stop.reason, stop.address) == (StopReason.PROBE, demo.registers.pc)
    following = {1: start + 8, 28: start + 200, 0: start + 4}
    if stage is Stage.PRE:
        assert stop.address == start + 4 * number
    elif number in following:
        assert stop.address == following[number]
    snapshot = demo.snapshot()

    def finish() -> tuple[object, ...]:
        probe.stop.clear()
        while True:
            demo.run(until=caller)
            if demo.registers.sp == sp:
                return demo.registers.x[0], [demo.registers.x[i] for i in range(31)]

    first = finish()
    assert first[0] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987][argument]
    for _ in range(2):
        demo.restore(snapshot)
        assert finish() == first


@pytest.mark.parametrize(("era", "number"), [("v6.1", 0), ("v4.8", 3)])
def test_snapshot_of_each_moment(demo: machine.Machine, put: Put, era: str, number: int) -> None:
    """Also in the slot and in the trampoline, whose instructions do not count."""
    start = put(era)
    kprobes = Kprobes(demo, era)
    posts: list[int] = []
    kprobes.register_kprobe(Kprobe(addr=start + 4 * number, post_handler=lambda p, regs, flags: posts.append(regs.pc)))
    kprobes.register_kretprobe(Kretprobe("insn_nop"))
    demo.run(until="insn_nop")
    caller = demo.registers.x[30]
    states = []
    trampoline = kprobes._kretprobes.trampoline
    inside = range(trampoline, trampoline + len(words(DIRECT, ERAS[era].hits.frame)) * 4, 4)
    # The CPU's step comes before a breakpoint in a slot of one word.
    slots = [slot + at for slot, size, _ in kprobes._slots.taken if size == 8 for at in (0, 4)]
    for address in (*inside, *slots):
        demo.breakpoints.add(address)
    while demo.registers.pc != caller:
        states.append(demo.snapshot())
        demo.step()
        assert len(states) < 100
    for address in (*inside, *slots):
        demo.breakpoints.remove(address)
    end, x = demo.instructions, list(demo.registers.x)
    assert len(states) > 50
    for state in states:
        demo.restore(state)
        posts.clear()
        demo.run(until=caller)
        assert (demo.instructions, list(demo.registers.x)) == (end, x)
        assert posts in ([start + 4 * number + 4], [])


def test_handler_that_skips_an_instruction(demo: machine.Machine, put: Put) -> None:
    """What it sets the PC to is an address in the guest's trampoline, and means the same one in ours."""
    start = put("v6.1")
    kprobes = Kprobes(demo)
    records: list[bool] = []

    def skip(probe: Kprobe, regs: PtRegs) -> int:
        regs.pc += 4
        return 1

    probe = kprobes.register_kprobe(Kprobe(addr=start + 4 * RECORD, pre_handler=skip))
    behind = Kprobe(
        addr=start + 4 * RECORD + 4, pre_handler=lambda p, regs: records.append(regs.regs[29] == regs.sp + 0xE8)
    )
    kprobes.register_kprobe(behind)
    kprobes.register_kretprobe(Kretprobe("fib", maxactive=20))
    assert demo.call("fib", 3) == 2
    kprobes.disable(probe)
    assert demo.call("fib", 3) == 2
    assert records == [False] * 5 + [True] * 5


def test_unregistered_by_its_own_handler(demo: machine.Machine, put: Put) -> None:
    start = put("v6.1")
    kprobes = Kprobes(demo)
    probe = Kprobe(addr=start, pre_handler=lambda p, regs: kprobes.unregister(p))
    kprobes.register_kprobe(probe)
    kprobes.register_kretprobe(Kretprobe("fib", maxactive=20))
    assert demo.call("fib", 6) == 8
    assert probe.hits == 1
    again = kprobes.register_kprobe(Kprobe(addr=start))
    assert demo.call("fib", 6) == 8
    assert again.hits == 25


def test_restored_to_before_there_was_a_trampoline(demo: machine.Machine, put: Put) -> None:
    start = put("v6.1")
    kprobes = Kprobes(demo)
    before = demo.snapshot()
    probe = kprobes.register_kprobe(Kprobe(addr=start))
    kprobes.register_kretprobe(Kretprobe("fib", maxactive=20))
    for _ in range(2):
        assert demo.call("fib", 6) == 8
        assert probe.hits == 25
        demo.restore(before)
