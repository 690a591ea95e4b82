# SPDX-License-Identifier: GPL-2.0-or-later
"""The debugger's tracepoints: kprobes whose handlers collect data, and the single steps that follow a hit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.native.program import Program
from armprobe.probes import Condition, DecidingFunction, Hit, Kprobe, Kprobes, ProbeError, PtRegs, Stage
from armprobe.stub import GuestView, TargetError


@dataclass
class _Stepping:
    """The remaining single steps after a hit, and the function to call after each."""

    left: int
    stepped: Callable[[GuestView], None]


class Tracepoints:
    """The tracepoints of one machine. All runs of the machine go through this class, because tracepoints may step."""

    def __init__(self, machine: Machine, kprobes: Kprobes, view: GuestView) -> None:
        self._machine, self._kprobes, self._view = machine, kprobes, view
        self._steps: dict[Kprobe, _Stepping] = {}  # for the last hit of each tracepoint
        self._active: list[_Stepping] = []

    def add(
        self,
        address: int,
        hit: Callable[[GuestView], int],
        stepped: Callable[[GuestView], None],
        steps: bool,
        condition: Program | None,
    ) -> Callable[[], None]:
        """See `armprobe.stub.target.Tracepoints.trace`."""
        view = self._view

        def collect(probe: Kprobe, regs: PtRegs) -> None:
            hit(view)

        def collect_and_stop(stage: Stage, regs: PtRegs) -> bool:
            """The condition of the probe's stop: it stops if single steps follow."""
            self._steps[probe] = _Stepping(hit(view), stepped)
            return self._steps[probe].left > 0

        def deciding(decide: Callable[[Stage, PtRegs], bool]) -> Condition:
            return decide if condition is None else DecidingFunction(decide, condition)

        if steps:
            probe = Kprobe(addr=address, record=False, stop=[Stage.PRE], condition=deciding(collect_and_stop))
        elif condition is None:
            probe = Kprobe(addr=address, record=False, pre_handler=collect)
        else:  # `hit` evaluates the condition, too
            always = deciding(lambda stage, regs: True)
            probe = Kprobe(addr=address, record=False, pre_handler=collect, condition=always, conditional_handlers=True)
        try:
            self._kprobes.register_kprobe(probe)
        except ProbeError as error:
            raise TargetError(error.errno, f"no tracepoint can be at {address:#x}: {error.reason}") from None

        def remove() -> None:
            self._steps.pop(probe, None)
            with contextlib.suppress(ProbeError):  # all probes have been removed meanwhile
                self._kprobes.unregister(probe)

        return remove

    # Runs. The stops of tracepoints are not passed on.

    def run(self, run: Callable[[], Stop]) -> Stop:
        """Call `run`. If a tracepoint stops it, make the single steps and call it again."""
        while True:
            stepping = bool(self._active)
            stop = self.step() if stepping else run()
            if self._took(stop):
                continue
            if not stepping or stop.reason is not StopReason.INSTRUCTIONS:
                return stop
            if self._active and self._breaks_at(stop.address):
                return Stop(StopReason.BREAKPOINT, stop.address)

    def step(self) -> Stop:
        """Execute one instruction."""
        stop = self._machine.step()
        if stop.reason is StopReason.PROBE and self._took(stop):
            stop = self._machine.step()
        if self._active and stop.reason is StopReason.INSTRUCTIONS:
            for stepping in self._active:
                stepping.left -= 1
                stepping.stepped(self._view)
            self._active = [stepping for stepping in self._active if stepping.left > 0]
        return stop

    def _breaks_at(self, pc: int) -> bool:
        """Whether a run that reached `pc` would have stopped."""
        return bool(self._machine.breakpoints.count(pc)) or self._machine.conditional_breakpoints.decides(pc)

    def _took(self, stop: Stop) -> bool:
        if stop.reason is not StopReason.PROBE or not isinstance(stop.detail, Hit):
            return False
        stepping = self._steps.pop(stop.detail.probe, None) if isinstance(stop.detail.probe, Kprobe) else None
        if stepping is None:
            return False
        self._active.append(stepping)
        return True
