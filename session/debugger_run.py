# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of the guest for a debugger, in parts: its beginning is made on the debugger's own thread.

To hand a run over and to be woken takes 0.2 milliseconds, and most runs and steps of a debugger end before that.
"""

from __future__ import annotations

from typing import Final

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.core.run_loop import Run

from .debugger_breakpoints import DebuggerBreakpoints
from .tracepoints import Tracepoints

_BRIEF: Final = 20_000
"""The instructions of a run's beginning, a tenth of a millisecond. Meanwhile no Ctrl-C is heard."""
_BRIEF_STEPS: Final = 8
"""The steps of the beginning of a step through a range."""


class DebuggerRun:
    """One run. Its methods make the next part, and end with the reason UNFINISHED if there is more to do."""

    def __init__(self, machine: Machine, tracepoints: Tracepoints, breakpoints: DebuggerBreakpoints) -> None:
        self._machine, self._tracepoints, self._breakpoints = machine, tracepoints, breakpoints
        self._begins = not machine.clock.paced  # whether what comes next is the beginning
        self._last: Run | None = None  # the machine's run, once its beginning is over

    def run(self) -> Stop:
        """Run, unless the debugger has a breakpoint at the PC.

        A debugger that does not want to hit it again removes it and steps before it continues.
        """
        return self._tracepoints.run(self._run_on)

    def _run_on(self) -> Stop:
        machine, after, self._last = self._machine, self._last, None
        if after is None and self._breakpoints.stop_here():
            return Stop(StopReason.BREAKPOINT, machine.registers.pc)
        if not self._begins:
            return machine.run(after=after)
        stop = machine.run(instructions=_BRIEF)
        if stop.reason is StopReason.INSTRUCTIONS:
            self._begins, self._last = False, machine.scheduler.last_run
            return Stop(StopReason.UNFINISHED, stop.address)
        return stop

    def step_out_of(self, start: int, end: int) -> Stop:
        """Step until the PC is outside start <= pc < end."""
        most, self._begins = _BRIEF_STEPS if self._begins else None, False
        return self._machine.step_out_of(start, end, self._tracepoints.step, most)
