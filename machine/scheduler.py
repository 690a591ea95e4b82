# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler: runs a machine's cores by slices, and handles requests and events between them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from .core.core import ANOTHER_THREAD
from .core.deferred_signals import DeferredSignals
from .core.dispatch import MANY
from .core.run_loop import NAP, Run
from .errors import MachineError
from .state import Order
from .stop import Stop, StopReason

if TYPE_CHECKING:
    from .machine import Machine

SLICE: Final = 500_000  # instructions that a core runs between two checks of the scheduler, some 10 milliseconds
LONGEST_OUT_OF_LINE: Final = 200  # instructions of a slot and of its exceptions' handlers; a trampoline takes some 50


class Scheduler:
    """Runs the cores of one machine (only one now). A handler of an exception may call `run` again."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._depth = 0
        self._began = 0  # the count of instructions at which the run under way began
        self._lock = threading.Lock()  # held by the thread that uses the machine
        self.between_slices: Callable[[], None] = lambda: None
        self.last_run: Run | None = None
        """The last run that began, for the next part of it."""
        self.before_slice: list[Callable[[], None]] = []  # called before each slice, at any depth
        self.signals = DeferredSignals(self._signal_arrived)
        self.interrupt_requested = False
        self._put_off = 0  # slices since an interrupt was put off
        self._last_stop: Stop | None = None
        machine.state.on_restored(Order.CORE, self._forget)

    def run(self, until: int | None, budget: int | None, interrupts: bool, run: Run | None = None) -> Stop:
        """Run to address `until`, for `budget` instructions, or until something else stops the guest.

        With `run`, this is its next part: a breakpoint at the PC stops it. Raises MachineError when the guest has ended
        for good, and when another thread is running it.
        """
        last, clock = self._last_stop, self._machine.clock
        if last is not None and last.reason.final:
            raise MachineError(f"{last.reason.value}: restore a snapshot or load the guest again to go on")
        taken = self.take()
        outer, self._began = self._began, clock.executed
        self._depth += 1
        try:
            if self._depth == 1 and clock.paced:
                clock.start_pacing()
            loop = self._machine.core.run_loop
            end = None if budget is None else self._began + budget
            run = loop.begin(until, interrupts, end) if run is None else loop.go_on(run, end)
            self.last_run = run
            stop = self._slices(run)
        finally:
            self._depth -= 1
            self._began = outer
            if taken:
                self.give_back()
        if stop.reason is not StopReason.RETURNED:
            self._last_stop = stop
        return stop

    def take(self) -> bool:
        """Reserve the machine for this thread. From now on, Python's signals wait for the end of a slice.

        Returns whether to call `give_back`: False if this thread has the machine already. Raises MachineError if
        another thread has it.
        """
        core, thread = self._machine.core, threading.get_ident()
        if core.thread == thread:
            return False
        if not self._lock.acquire(blocking=False):
            raise MachineError(ANOTHER_THREAD)
        core.thread = thread
        try:
            self.signals.hold()
        except BaseException:
            core.thread = 0
            self._lock.release()
            raise
        return True

    def give_back(self) -> None:
        """Undo a `take`. Raises what the handlers of waiting signals raise."""
        try:
            self.signals.release()
        finally:
            self._machine.core.thread = 0
            self._lock.release()

    @property
    def last_stop(self) -> Stop | None:
        """The stop that the last run has ended with. None if another state was put in place since."""
        return self._last_stop

    @property
    def ended(self) -> bool:
        """Whether the guest has ended for good: powered off, reset, exited or locked up."""
        return self._last_stop is not None and self._last_stop.reason.final

    def _forget(self) -> None:
        """Forget the last stop, when another state has been put in place."""
        self._last_stop = None

    @contextlib.contextmanager
    def elsewhere(self, pc: int) -> Iterator[None]:
        """A context for a run that comes back to `pc`, where the guest is now. Keeps the last stop."""
        last_stop, come_back = self._last_stop, self._machine.core.run_loop.leave(pc)
        try:
            yield
        finally:
            come_back()
            self._last_stop = last_stop

    def _slices(self, run: Run) -> Stop:
        loop = self._machine.core.run_loop
        while True:
            stop = self._look_up(run)
            if stop is None:
                stop = loop.slice(run, self._length(run.limit))
            if stop is not None:
                return stop

    def _look_up(self, run: Run) -> Stop | None:
        """Handle requests and events between slices. Returns the stop to make here, if any."""
        machine, core, end = self._machine, self._machine.core, run.end
        dispatcher, state = core.dispatcher, core.native.state
        if dispatcher.stop is not None:
            stop, dispatcher.stop = dispatcher.stop, None
            return stop
        state.ends = False  # before the checks, so that later requests end the slice
        if self._depth == 1 and not machine.timeline.going:
            machine.console.deliver()
            self.between_slices()
        if state.interrupting and (interrupted := self._interrupted()) is not None:
            return interrupted
        if end is not None and (executed := machine.clock.executed) >= end:
            pc = core.load().pc
            if executed > end or not core.native.is_aside(pc, executed):
                return Stop(StopReason.INSTRUCTIONS, pc)
        machine.timeline.before_slice(run, self._depth)
        core.run_loop.update()
        for prepare in self.before_slice:
            prepare()
        return None

    def interrupt(self) -> None:
        """See `Machine.interrupt`."""
        self.interrupt_requested = True
        self._machine.core.dispatcher.interrupting = True

    def _signal_arrived(self) -> None:
        self._machine.core.dispatcher.interrupting = True

    def _interrupted(self) -> Stop | None:
        """Handle a request to interrupt the run, or a waiting signal. Returns the stop to make here, if any.

        The stop is put off while the guest is where a debugger of a real machine would not find it: at the first
        instruction of a vector, if the last slice ended for that exception, and in the machine's own code, which is
        stepped through, as is the entry of an interrupt that comes on the way out of it. A function that a handler
        calls may finish first, if that takes no longer than a slice.
        """
        machine, dispatcher = self._machine, self._machine.core.dispatcher
        if self._depth > 1 and machine.clock.executed - self._began < SLICE:
            return None
        pc = machine.core.load().pc
        at_vector = dispatcher.delivered and dispatcher.passed < MANY
        inside = pc in machine.scratch or (self._put_off > 0 and machine.core.run_loop.masks_interrupt())
        if (at_vector or inside) and self._put_off < LONGEST_OUT_OF_LINE:
            self._put_off += 1
            return None
        self._put_off = dispatcher.passed = 0
        if self._depth == 1:
            dispatcher.interrupting = False  # before the checks, here too
            self.signals.deliver()
        elif self.signals.pending and self.signals.deliver_below():
            return Stop(StopReason.INTERRUPTED, pc, "interrupted by a signal")
        if not self.interrupt_requested:
            return None
        if self._depth == 1:
            self.interrupt_requested = False
        return Stop(StopReason.INTERRUPTED, pc)

    def _length(self, end: int | None) -> int:
        """The maximum length of the next slice, in instructions. 0 in the machine's own code: to its end."""
        dispatcher = self._machine.core.dispatcher
        if self._put_off and dispatcher.interrupting and not dispatcher.delivered:
            # What counts as nothing comes to its end without the guest's next instruction; a slot counts as one.
            return 0 if self._machine.scratch.is_extra(self._machine.core.load().pc) else 1
        return SLICE if end is None else max(0, min(SLICE, end - self._machine.clock.executed))

    def idle(self) -> Stop | None:
        """Skip time to the next timer while the core waits and nothing is pending. Without a timer the run ends."""
        machine, clock = self._machine, self._machine.clock
        deadlines = machine.core.run_loop.deadlines()
        if not deadlines:
            return Stop(StopReason.IDLE, machine.registers.pc)
        deadline = min(deadlines)
        if clock.paced and (ahead := clock.ahead(deadline)) > 0:
            machine.console.wait(min(ahead, NAP))
            if (wall := clock.wall_count()) < deadline:
                machine.skip_to(wall)
                return None
        clock.skip_to(deadline)
        return None
