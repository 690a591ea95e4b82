# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits that C leaves to Python: of probes with a stop or conditional handlers, those at which the condition is true."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from armprobe import machine
from armprobe.expressions import Condition
from armprobe.expressions.native import compile_value
from armprobe.machine import StopReason
from armprobe.probes import DecidingFunction, Kprobe, Kprobes, Kretprobe, Probe, PtRegs, Stage, engine

from .test_optimized import BRK_4, OPTIMIZED, Names, counts, register, seen, word

Log = list[object]
Make = Callable[[Log], Sequence[Probe]]
SOME = Condition.compile("*(u32 *)x0 % 5 == 1", Names(False))
LARGE = Condition.compile("x0 > 100", Names(False))
SOME_RETURNED = Condition.compile("x0 & 0x40", Names(True))


def handled(log: Log) -> Callable[..., None]:
    def handler(probe: Probe, regs: PtRegs, *rest: object) -> None:
        log.append((probe.name, list(regs.regs), regs.pc, rest))

    return handler


def stops(log: Log) -> Sequence[Probe]:
    return [
        Kprobe("cmp_u32", stop=[Stage.PRE], condition=SOME),
        Kprobe("cmp_u32", record=False),
        Kprobe("kmalloc", stop=[Stage.POST], condition=LARGE),
        Kprobe("pcrel_adr", stop=[Stage.PRE, Stage.POST], condition=Condition.compile("x30 & 8", Names(False))),
    ]


def calls(log: Log) -> Sequence[Probe]:
    return [
        Kretprobe("kmalloc", stop=[Stage.RETURN], condition=SOME_RETURNED, maxactive=1),
        Kretprobe("cmp_u32", stop=[Stage.ENTRY], condition=SOME, condition_at=Stage.ENTRY, record=False),
        Kretprobe("strlen"),
    ]


def handlers(log: Log) -> Sequence[Probe]:
    tell = handled(log)

    def decide(stage: Stage, regs: PtRegs) -> bool:
        log.append(stage)
        return regs.regs[0] > 200

    deciding = DecidingFunction(decide, compile_value(LARGE))
    return [
        Kprobe("cmp_u32", pre_handler=tell, post_handler=tell, condition=SOME, conditional_handlers=True),
        Kprobe("cmp_u32", offset=4, pre_handler=tell, condition=SOME, conditional_handlers=True, record=False),
        Kprobe("kmalloc", pre_handler=tell, condition=deciding, conditional_handlers=True),
    ]


def no_value(log: Log) -> Sequence[Probe]:
    """Memory that cannot be read at some hits: Python stops for those."""
    return [
        Kprobe("kmalloc", stop=[Stage.PRE], condition=Condition.compile("x0 > 100 && *(u32 *)x0", Names(False))),
        Kprobe("kfree", stop=[Stage.PRE], condition=Condition.compile("*(u32 *)x0 == 1", Names(False))),
    ]


def went(make: Make, optimization: bool) -> tuple[Log, list[tuple[int, ...]], object]:
    """All stops and hits of the guest with these probes."""
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_run")
    kprobes, log = Kprobes(demo), Log()
    kprobes.optimization = optimization
    probes = make(log)
    register(kprobes, probes)
    for _ in range(200):
        stop = demo.run(instructions=2_011)
        log.append((stop.reason, stop.address, stop.text, demo.instructions, demo.registers.pstate))
    assert any(entry[0] is StopReason.PROBE for entry in log if isinstance(entry, tuple)) or make is handlers
    return log, [(*counts(probe), probe.met) for probe in probes], (seen(kprobes.hits), list(demo.registers.x))


@pytest.mark.parametrize("make", [stops, calls, handlers, no_value])
def test_the_same_as_by_python_alone(make: Make) -> None:
    by_c, alone = went(make, True), went(make, False)
    if make is handlers:  # Python asks at all hits where C has not said no
        log = [entry for entry in alone[0] if entry is not Stage.PRE]
        assert [entry for entry in by_c[0] if entry is not Stage.PRE] == log
        assert by_c[0].count(Stage.PRE) < alone[0].count(Stage.PRE)
    else:
        assert by_c[0] == alone[0]
    assert by_c[1:] == alone[1:]


@pytest.mark.parametrize("make", [stops, handlers])
def test_python_has_the_hits_at_which_a_condition_is_true(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    came, handle = [], engine.Engine._breakpoint

    def breakpoint(self: engine.Engine, core: object) -> bool:
        came.append(core)
        return handle(self, core)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.Engine, "_breakpoint", breakpoint)
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_run")
    kprobes = Kprobes(demo)
    probe, *_ = make([])
    register(kprobes, [probe])
    while demo.instructions < 300_000:
        demo.run(instructions=100_000)
    assert len(came) == probe.met
    assert 0 < probe.met < probe.hits / 2
    assert not probe.flags & OPTIMIZED
    assert word(demo, "cmp_u32") == BRK_4
    kprobes.unregister(probe)
    assert word(demo, "cmp_u32") != BRK_4


def test_a_probe_that_stops_no_more_needs_no_breakpoint(demo: machine.Machine, kprobes: Kprobes) -> None:
    never = Condition.compile("x0 == 12345", Names(False))
    probe = kprobes.register_kprobe(Kprobe("checksum_mix", stop=[Stage.PRE], condition=never))
    demo.call("checksum_mix", 1, 2)
    assert (probe.flags, probe.hits, word(demo, "checksum_mix")) == (0, 1, BRK_4)
    probe.stop.clear()
    demo.call("checksum_mix", 1, 2)
    assert (probe.flags, probe.hits) == (OPTIMIZED, 2)
    probe.stop.add(Stage.PRE)
    demo.call("checksum_mix", 1, 2)
    assert (probe.flags, probe.hits, word(demo, "checksum_mix")) == (0, 3, BRK_4)
    probe.condition = None
    demo.registers.pc = demo.symbols["checksum_mix"].address
    assert demo.run(instructions=10).reason is StopReason.PROBE
    assert probe.hits == 4
