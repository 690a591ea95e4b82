# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: running the machine and stopping it. Every target has it."""

from collections.abc import Callable
from typing import Protocol

from .stops import StopEvent


class Resume(Protocol):
    """Going on, stepping, and interrupting."""

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        """Start the machine and return at once.

        `done` is called once, from any thread, when it has stopped. For a step that may be before this returns.

        With `step`, one instruction is executed. With `range` (start, end) too, instructions are stepped until the PC
        is outside start <= pc < end. A breakpoint at the PC stops no step, but it stops a machine that would run
        freely, before it has executed anything: a client steps first. No watchpoint stops an instruction that one has
        just stopped.
        """

    def interrupt(self) -> None:
        """Ask the running machine, or a command (`Monitor`), to stop soon. Harmless when nothing runs. Must not wait.

        A machine that `resume` was called for before is sure to stop, even if it has not started yet.
        """
