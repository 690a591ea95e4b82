# SPDX-License-Identifier: GPL-2.0-or-later
"""Return handlers that C calls: the same as by dispatch of the exception, whatever they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.expressions import Condition
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage

from .test_optimized import Names

Handler = Callable[[Kprobes, Kretprobe, PtRegs], None]


def _reads(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    _ = regs.regs[0]


def _changes(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    """x30, sp and pc are not the handler's to change in the frame of `direct`."""
    if probe.hits % 3 == 0:
        regs.regs[9] = regs.regs[17] = probe.hits
        regs.pstate ^= 15 << 28  # NZCV
        if kprobes.trampoline == "direct":
            regs.regs[30] = regs.sp = regs.pc = 0xBAD


def _raises(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    raise ValueError("in the handler")


def _calls(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    """The function itself is hit again, which is a miss."""
    if probe.hits % 5 == 1:
        assert kprobes.machine.call("fib", 6) == 8


def _looks_around(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    """The calls that are followed by C become Python's."""
    if probe.hits % 5 == 1:
        _ = kprobes.outstanding


def _leaves(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    if probe.hits == 7:
        kprobes.unregister(probe)


def _disables(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    if probe.hits == 7:
        kprobes.disable(probe)


def _gets_another(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    if probe.hits == 3:
        kprobes.register_kretprobe(Kretprobe("fib", maxactive=30))


def _gets_an_entry_handler(kprobes: Kprobes, probe: Kretprobe, regs: PtRegs) -> None:
    if probe.hits == 3:
        probe.entry_handler = lambda instance, regs: 0


HANDLERS: list[Handler] = [
    *(_reads, _changes, _raises, _calls, _looks_around, _leaves, _disables, _gets_another, _gets_an_entry_handler),
]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize(
    ("way", "era"), [("plain", "v6.1"), ("recorded", "v5.10"), ("conditional", "v6.9"), ("few instances", "v6.1")]
)
@pytest.mark.sample
def test_a_return_handler_that_is_called_by_c(handler: Handler, way: str, era: str) -> None:
    """The reference is the machine without optimisation, in which Python handles the whole exception.

    fib calls itself, so several calls are outstanding. A machine has a history in every second case.
    """
    seen = []
    for optimization in (True, False):
        demo = machine.load("demo", memory="16M", history=way in ("plain", "conditional"))
        demo.run(until="workload_round")
        kprobes = Kprobes(demo, era)
        kprobes.optimization = optimization
        kprobes.on_error = lambda probe, error: None
        calls: list[tuple[object, ...]] = []

        def returned(
            instance: KretprobeInstance,
            regs: PtRegs,
            kprobes: Kprobes = kprobes,
            calls: list[tuple[object, ...]] = calls,
        ) -> None:
            probe = instance.rp
            assert probe is not None
            of_call = instance.ret_addr, instance.fp, instance.number, instance.elapsed, instance.entry_time
            counts = probe.hits, probe.nmissed, probe.kp.nmissed
            callers = str(kprobes.backtrace())
            calls.append((kprobes.machine.instructions, *of_call, *counts, *regs.words, regs.pstate, callers))
            handler(kprobes, probe, regs)

        probe = kprobes.register_kretprobe(
            Kretprobe(
                "fib",
                handler=returned,
                record=way != "plain",
                condition=Condition.compile("x0 % 3 == 0", Names(False)) if way == "conditional" else None,
                condition_at=Stage.RETURN,
                maxactive=4 if way == "few instances" else 30,
            )
        )
        other = kprobes.register_kprobe(Kprobe("fib", offset=4))
        assert demo.call("fib", 7) == 13
        demo.run(instructions=30_000)
        assert calls
        assert probe.nmissed > 0 or way != "few instances" or handler in (_leaves, _disables)
        counts = probe.hits, probe.nmissed, probe.kp.nmissed, probe.met, other.hits, other.nmissed
        hits = [(str(hit), hit.general, hit.pstate) for hit in kprobes.hits]
        general = list(demo.registers.x)
        seen.append((calls, counts, hits, general, demo.instructions, bytes(demo.console.read())))
    assert seen[0] == seen[1]
