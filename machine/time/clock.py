# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's time: instructions executed, plus ticks skipped while idle. So every run of a guest is the same."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.field_checks import U63, integer
from armprobe.machine.state import Order, StateRegistry

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core


class Clock:
    """Counts in ticks of the generic timer (62.5 MHz), one per instruction. A wait for an interrupt skips ticks.

    With `paced` set, guest time does not run ahead of the wall clock.
    """

    STATE: ClassVar = {"instructions": integer(U63), "idle": integer(U63)}

    def __init__(self, state: StateRegistry) -> None:
        self.instructions = 0  # executed in the runs that have ended
        idle = ctypes.c_uint64()
        self._idle = memoryview(idle).cast("B").cast("Q")  # read at each handler: a view takes a fifth of the time
        self.idle_at = ctypes.addressof(idle)  # for C, which skips ticks, too
        self.running: Core | None = None  # the core whose own counter must be added
        self.paced = False
        self._origin = 0.0, 0  # a wall clock time in seconds, and the count at that time
        state.join("clock", self, Order.CLOCK)

    @property
    def idle(self) -> int:
        """Ticks skipped while waiting for an interrupt."""
        return self._idle[0]

    @idle.setter
    def idle(self, ticks: int) -> None:
        self._idle[0] = ticks

    @property
    def executed(self) -> int:
        """The guest's own instructions since reset, exact also inside hooks (the current instruction included).

        An instruction that a probe executes out of line counts once. Breakpoints of probes, and what the machine adds
        for them, do not count.
        """
        running = self.running
        return self.instructions if running is None else running.native.now

    @property
    def now(self) -> int:
        """The generic timer's count."""
        running = self.running
        return (self.instructions if running is None else running.native.now) + self._idle[0]

    @property
    def seconds(self) -> float:
        """Guest time since reset in seconds."""
        return self.now / FREQUENCY

    def settle(self) -> None:
        """Take over the running core's count of instructions, when its run has ended."""
        if self.running is not None:
            self.instructions = int(self.running.native.state.ended)
            self.running = None

    def pause(self) -> None:
        """The same in a hook of the run, before another run begins within this one."""
        self.instructions, self.running = self.executed, None

    @contextlib.contextmanager
    def before_instruction(self) -> Iterator[None]:
        """A context in a hook of the run, in which the current instruction does not count."""
        instructions, running = self.instructions, self.running
        self.instructions, self.running = self.executed - 1, None
        try:
            yield
        finally:
            self.instructions, self.running = instructions, running

    def count_instruction(self) -> None:
        """Count an instruction of the guest's that was executed in another way. Not while the guest executes code."""
        if self.running is None:
            self.instructions += 1
        else:
            self.running.native.count_instruction()

    def skip_to(self, count: int) -> None:
        """Idle until the generic timer's count is `count`."""
        self.idle += max(0, count - self.now)

    def start_pacing(self) -> None:
        """Measure pacing from now on. Called when a run starts."""
        self._origin = time.monotonic(), self.now

    def wall_count(self) -> int:
        """The generic timer's count if guest time had followed the wall clock since the run started."""
        started, count = self._origin
        return count + int((time.monotonic() - started) * FREQUENCY)

    def ahead(self, count: int) -> float:
        """Seconds until the wall clock reaches `count`; 0 if it has, or if time is not paced."""
        return max(0, count - self.wall_count()) / FREQUENCY if self.paced else 0.0
