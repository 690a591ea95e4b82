# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the guest in slices, and between them looks at all that may have happened meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import unicorn

from armprobe.machine.devices.gic import Signal
from armprobe.machine.errors import MachineError
from armprobe.machine.stop import Stop, StopReason
from armprobe.machine.time.clock import Clock

from .context import PSTATE_F, PSTATE_I
from .core import ANOTHER_THREAD, Core
from .deferred_signals import DeferredSignals, calls_users_code
from .dispatch import MANY
from .exceptions import EXTERNAL_ABORT, FAR_NOT_VALID, IL, PSTATE_SS, SCTLR_NTWI, WRITE_NOT_READ, Class, Raised
from .guest_watchpoints import GuestWatchHit
from .interrupt_window import Unmasking

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

SLICE: Final = 500_000  # instructions: how long a run goes on before it looks up, some 10 milliseconds
_ENGINE_PAGE: Final = 1 << 10  # bytes: Unicorn keeps code by the smallest page that an Arm CPU ever had
_PIECES: Final = 32  # of masked code that are run one by one
LONGEST_OUT_OF_LINE: Final = 200  # instructions: of a slot and what its exceptions run, of a trampoline some 50
_NAP: Final = 0.05  # seconds: the longest that guest time is held back at once
_BUS_ERRORS: Final = {
    unicorn.UC_ERR_READ_UNMAPPED: 0,
    unicorn.UC_ERR_WRITE_UNMAPPED: WRITE_NOT_READ,
    unicorn.UC_ERR_READ_PROT: 0,
    unicorn.UC_ERR_WRITE_PROT: WRITE_NOT_READ,
}

_MASKS: Final = {Signal.NONE: 0, Signal.IRQ: PSTATE_I, Signal.FIQ: PSTATE_F}  # PSTATE's bit that keeps it away

Place = tuple[int, int]


class RunLoop:
    """The run loop of one machine. `run` may be called again from within: by whoever handles an exception."""

    STATE = ("waiting", "met")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._intercepts: dict[int, list[Callable[[Machine], None]]] = {}
        self._ends: set[int] = set()
        self._unmasking = Unmasking(machine.bus, machine.memory)
        self._depth = 0
        self._began = 0  # the count of instructions at which the run under way began
        self._lock = threading.Lock()  # held by the thread that uses the machine
        self.signals = DeferredSignals(self._signal_arrived)
        self.interrupt_requested = False
        self._put_off = 0  # slices since an interrupt that was not taken where it came
        self.waiting = False  # the guest executed WFI, and nothing has ended its wait yet
        self.met: list[int] = []  # where and at which count of instructions intercepts were last called
        self.finishing = False  # the run under way began with code of the machine's own: see Dispatcher.request_stop
        self.watched_at: int | None = None  # the PC of the access that a watchpoint stopped the last run before
        self._last_stop: Stop | None = None
        machine.dispatcher.claim_wfi(self._wfi_trapped)
        machine.dispatcher.claim_fetch(self._cannot_fetch)

    def intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """See `Machine.intercept`."""
        self._intercepts.setdefault(address, []).append(function)
        self._machine.breakpoints.add(address)

    def wait(self) -> None:
        """The CPU waits for an interrupt, as by WFI. For hooks."""
        self.waiting = True
        self._machine.dispatcher.end_slice = True

    def end_slices_at(self, addresses: set[int]) -> None:
        """Look up before and after the instructions at these addresses, from now on."""
        for address in addresses - self._ends:
            self._ends.add(address)
            self.intercept(address, _nothing)

    def unintercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """See `Machine.unintercept`."""
        functions = self._intercepts[address]
        functions.remove(function)
        if not functions:
            del self._intercepts[address]
        self._machine.breakpoints.remove(address)

    @contextlib.contextmanager
    def elsewhere(self, pc: int) -> Iterator[None]:
        """Around a run that comes back to `pc`, where the guest is now: what holds of this place then holds again."""
        clock, waiting, watched_at, last_stop = self._machine.clock, self.waiting, self.watched_at, self._last_stop
        skip, finishing = self._machine.conditional_breakpoints.skip, self.finishing
        met = self.met == [pc, clock.executed]
        self.waiting = False
        try:
            yield
        finally:
            self.waiting, self.watched_at, self._last_stop = waiting, watched_at, last_stop
            self._machine.conditional_breakpoints.skip, self.finishing = skip, finishing
            if met:
                self.met = [pc, clock.executed]

    def run(self, until: int | None, budget: int | None, interrupts: bool) -> Stop:
        """Run to address `until`, for `budget` instructions, or until something else stops the guest.

        Raises MachineError when the guest has ended for good, and on another thread than that which runs it already.
        """
        if self.ended:
            assert self._last_stop is not None
            raise MachineError(f"{self._last_stop.reason.value}: restore a snapshot or load the guest again to go on")
        taken = self.take()
        outer, self._began = self._began, self._machine.clock.executed
        self._depth += 1
        try:
            if self._depth == 1:
                self._machine.clock.start_pacing()
            stop = self._slices(until, budget, interrupts)
        finally:
            self._depth -= 1
            self._began = outer
            if taken:
                self.give_back()
        if stop.reason is not StopReason.RETURNED:
            self._last_stop = stop
        return stop

    def take(self) -> bool:
        """From now on this thread, and no other, uses the machine, and Python's signals wait for the end of a slice.

        Returns whether to `give_back`: False if it is so already. Raises MachineError if another thread uses it.
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
        """Undo a `take`. Raises what the handlers of signals that still wait raise."""
        try:
            self.signals.release()
        finally:
            self._machine.core.thread = 0
            self._lock.release()

    @property
    def ended(self) -> bool:
        """Whether the guest has ended for good: powered off, reset, exited or locked up."""
        return self._last_stop is not None and self._last_stop.reason.final

    def forget(self) -> None:
        """The guest was replaced: what it last stopped for no longer matters."""
        self._last_stop = self.watched_at = None
        self._machine.dispatcher.stop = self._machine.dispatcher.resume = None

    def _slices(self, until: int | None, budget: int | None, interrupts: bool) -> Stop:
        machine, context, clock, gic = self._machine, self._machine.core.context, self._machine.clock, self._machine.gic
        dispatcher, breakpoints, watchpoints = machine.dispatcher, machine.breakpoints, machine.watchpoints
        conditional = machine.conditional_breakpoints
        end = None if budget is None else clock.executed + budget
        context.load()
        self.finishing = False
        if dispatcher.resume is not None:
            resume, dispatcher.resume, dispatcher.stop = dispatcher.resume, None, None
            self.finishing = bool(resume(machine.core))
            context.store()
        machine.register_access.begin(context.pc)
        # A breakpoint or watchpoint at the instruction where the run starts does not stop it there, whatever interrupts
        # come first: until it is executed with the stack pointer that it has now.
        start: Place | None = (context.pc, context.sp)
        conditional.skip = start
        watched, self.watched_at = self.watched_at == context.pc, None
        while True:
            stop = self._look_up(end)
            if stop is not None:
                return stop
            length = self._length(end)
            signal = gic.signal()
            pending = signal is not Signal.NONE
            if self.waiting:
                if pending or not interrupts:  # a debugger's step goes past a WFI
                    self.waiting = False
                else:
                    stop = self._wait()
                    if stop is not None:
                        return stop
                    continue
            context.load()
            if machine.pmu.following:
                machine.pmu.follow(context.el)
            if pending and interrupts and not context.daif & _MASKS[signal]:
                self._unmasking.start()
                dispatcher.take_interrupt(context, fiq=signal is Signal.FIQ)
                pending = False  # until the guest has acknowledged it, which ends the slice if there is another
            pc = context.pc
            starting = start == (pc, context.sp)
            watchpoints.enabled = not (starting and watched)
            if pc in breakpoints:
                if self._call_intercepts(pc):
                    continue
                if not starting and (stop := self._wanted(pc, until)) is not None:
                    return stop
                error = self._execute(lambda pc=pc: breakpoints.step_over(pc))  # type: ignore[misc]
            else:
                run = self._run_masked if pending and interrupts else machine.core.run
                length = 1 if starting and watched else length
                error = self._execute(lambda pc=pc, length=length, run=run: run(pc, length))  # type: ignore[misc]
            if starting and machine.core.executed:
                start = conditional.skip = None
            if error is not None:
                self._bus_error(error)
            elif (arrived := conditional.take_hit()) is not None:
                return Stop(StopReason.BREAKPOINT, arrived)
            elif (hit := machine.access_stop.take()) is None:
                if (ahead := clock.ahead(clock.now)) > 0.001:
                    machine.console.wait(min(ahead, _NAP))
            elif isinstance(hit, GuestWatchHit):
                context.load()
                machine.deliver(context, hit.syndrome, hit.address)
                dispatcher.commit()
            else:
                self.watched_at = machine.registers.pc
                return Stop(StopReason.WATCHPOINT, self.watched_at, str(hit), hit)

    def _look_up(self, end: int | None) -> Stop | None:
        """What is looked at between slices; the reason to stop here, if there is one."""
        machine, dispatcher = self._machine, self._machine.dispatcher
        if dispatcher.stop is not None:
            stop, dispatcher.stop = dispatcher.stop, None
            return stop
        dispatcher.end_slice = False  # before looking, so that what comes later ends the slice
        if self._depth == 1:
            machine.console.deliver()
            machine.between_slices()
        if dispatcher.interrupting and (interrupted := self._interrupted()) is not None:
            return interrupted
        if end is not None and machine.clock.executed >= end:
            return Stop(StopReason.INSTRUCTIONS, machine.registers.pc)
        for timer in machine.timers.values():
            timer.update()
        machine.guest_debug.update()
        if machine.pmu.following:
            self.end_slices_at(machine.register_access.returns)
            dispatcher.end_slice = True
        return None

    def interrupt(self) -> None:
        """See `Machine.interrupt`."""
        self.interrupt_requested = True
        self._machine.dispatcher.interrupting = True

    def _signal_arrived(self) -> None:
        self._machine.dispatcher.interrupting = True

    def _interrupted(self) -> Stop | None:
        """Somebody wants to interrupt the run, or a signal waits: the stop here, if there is to be one.

        It is put off while the guest is where the debugger of a real machine would not find it: at the first
        instruction of a vector, if the last slice ended for that exception, and in code of the machine's own, which is
        stepped through. A function that a handler calls may come to its end, if that takes no longer than a slice.
        """
        machine, dispatcher = self._machine, self._machine.dispatcher
        if self._depth > 1 and machine.clock.executed - self._began < SLICE:
            return None
        pc = machine.registers.pc
        at_vector = dispatcher.delivered and dispatcher.passed < MANY
        if (at_vector or pc in machine.scratch) and self._put_off < LONGEST_OUT_OF_LINE:
            self._put_off += 1
            return None
        self._put_off = dispatcher.passed = 0
        if self._depth == 1:
            dispatcher.interrupting = False  # before looking, here too
            self.signals.deliver()
        elif self.signals.pending and self.signals.deliver_below():
            return Stop(StopReason.INTERRUPTED, pc, "interrupted by a signal")
        if not self.interrupt_requested:
            return None
        if self._depth == 1:
            self.interrupt_requested = False
        return Stop(StopReason.INTERRUPTED, pc)

    def _length(self, end: int | None) -> int:
        """How many instructions to run before looking up again: to the next timer, so that it interrupts on the dot."""
        if self._put_off and self._machine.dispatcher.interrupting and not self._machine.dispatcher.delivered:
            return 1
        clock = self._machine.clock
        lengths = [deadline - clock.now for deadline in self._deadlines()]
        if (overflow := self._machine.pmu.until_overflow()) is not None:
            lengths.append(overflow)
        return min([SLICE, *lengths] if end is None else [SLICE, end - clock.executed, *lengths])

    def _deadlines(self) -> list[int]:
        """The counts at which a timer will fire."""
        clock, timers = self._machine.clock, self._machine.timers
        return [t.deadline for t in timers.values() if t.deadline is not None and t.deadline > clock.now]

    def _execute(self, run: Callable[[], unicorn.UcError | None]) -> unicorn.UcError | None:
        clock: Clock = self._machine.clock
        self._machine.breakpoints.put_in()
        self._machine.dispatcher.delivered = False
        clock.running = True
        try:
            return run()
        finally:
            clock.settle()
            self._machine.register_access.watch_found()

    def _run_masked(self, pc: int, length: int) -> unicorn.UcError | None:
        """As `Core.run`, with an interrupt pending that is masked: no further than to where it is not."""
        machine, core, context = self._machine, self._machine.core, self._machine.core.context
        for count in itertools.count():
            machine.dispatcher.end_slice = True  # an exception leads to other code
            edge = self._unmasking.edge(pc) if count >= _PIECES else frozenset()
            if edge and pc not in edge:  # it is in a loop, or in many: the costlier way is the quicker one
                error = machine.breakpoints.run_to(edge, pc, length)
                ended = core.executed == 0
            else:
                piece = min(length, self._unmasking.distance(pc))
                error = core.run(pc, piece)
                ended = core.executed != piece
            length -= core.executed
            dispatcher = machine.dispatcher
            if error is not None or ended or not length or dispatcher.stop is not None or dispatcher.interrupting:
                return error
            context.load()
            pc = context.pc
            masked = context.daif & _MASKS[machine.gic.signal()]
            if not masked or self.waiting or pc in machine.breakpoints:
                return None
            machine.clock.settle()
            machine.clock.running = True
        raise AssertionError("there is always another count")

    @calls_users_code
    def _call_intercepts(self, pc: int) -> bool:
        """Call what is to be called here, once each time the guest arrives; whether anything was."""
        functions = self._intercepts.get(pc)
        if not functions or self.met == [pc, self._machine.clock.executed]:
            return False
        for function in list(functions):
            function(self._machine)
        self.met = [pc, self._machine.clock.executed]
        return True

    def _wanted(self, pc: int, until: int | None) -> Stop | None:
        """The stop at breakpoint `pc`, if anyone wants one."""
        if pc == until:
            return Stop(StopReason.UNTIL, pc)
        if self._machine.breakpoints.count(pc) > len(self._intercepts.get(pc, ())):
            return Stop(StopReason.BREAKPOINT, pc)
        return None

    def _wait(self) -> Stop | None:
        """Nothing is pending: time goes on to the next timer, or the run ends when there is none."""
        machine, clock = self._machine, self._machine.clock
        deadlines = self._deadlines()
        if not deadlines:
            return Stop(StopReason.IDLE, machine.registers.pc)
        deadline = min(deadlines)
        if clock.paced and (ahead := clock.ahead(deadline)) > 0:
            machine.console.wait(min(ahead, _NAP))
            deadline = min(deadline, clock.wall_count())
        clock.skip_to(deadline)
        return None

    def _wfi_trapped(self, core: Core) -> bool:
        """WFI with nothing pending, or a breakpoint, which the engine makes a WFI."""
        context, dispatcher = core.context, self._machine.dispatcher
        if self._machine.breakpoints.reached(context):
            context.pc += 4
        elif context.el == 0 and not context.system(context.layout.sctlr_el1) & SCTLR_NTWI:
            return False  # the guest has it trapped
        else:
            context.pc += 4
            context.pstate &= ~PSTATE_SS  # the WFI has been stepped
            self.wait()
        dispatcher.end_slice = True
        return True

    def _cannot_fetch(self, core: Core, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """A breakpoint that the engine fails to arrive at."""
        pc, breakpoints = core.context.pc, self._machine.breakpoints
        if pc == breakpoints.stepping_over:
            return False
        if breakpoints.ends_a_run(pc) and fault_address == pc - _ENGINE_PAGE:
            # The block that ends a run there has no instructions. For what such a block takes up the engine looks from
            # its first byte to the one before, which, where a page begins, may be in one that cannot be executed.
            self._machine.dispatcher.end_slice = True
            return True
        # Nor does the engine see one where no instruction can be fetched. gdb has a function that it calls return to
        # the program's entry point and waits there (GDB manual, "Calling"); once the MMU is on, a kernel's entry point
        # is often no address any more. At EL0 the guest may be about to map the page.
        stop = self._wanted(pc, None) if core.context.el == 1 else None
        if stop is None:
            return False
        self._machine.request_stop(stop)
        return True

    def _bus_error(self, error: unicorn.UcError) -> None:
        """An access where there is neither memory nor a device: a synchronous external abort (Arm ARM, D1.3.4).

        So is an instruction fetch from a device: what a device answers to one is up to it, and the architecture lets
        the CPU take it for an abort (K1.2, "Instruction fetches from Device memory"). A PC that is no multiple of 4 is
        a fault before it is fetched from (D1.3.5).
        """
        machine, context = self._machine, self._machine.core.context
        context.load()
        lower, address = context.el == 0, 0
        if error.errno in (unicorn.UC_ERR_FETCH_UNMAPPED, unicorn.UC_ERR_FETCH_PROT):
            address = context.pc
            kind = Class.PREFETCH_ABORT_LOWER if lower else Class.PREFETCH_ABORT
            syndrome = Class.PC_ALIGNMENT << 26 | IL if address & 3 else kind << 26 | IL | EXTERNAL_ABORT
        elif error.errno in _BUS_ERRORS:
            kind = Class.DATA_ABORT_LOWER if lower else Class.DATA_ABORT
            syndrome = kind << 26 | IL | FAR_NOT_VALID | _BUS_ERRORS[error.errno] | EXTERNAL_ABORT
        else:
            raise MachineError(f"Unicorn cannot go on at {context.pc:#x}: {error}") from error
        machine.deliver(context, syndrome, address)
        machine.dispatcher.delivered = True
        machine.dispatcher.commit()


def _nothing(machine: Machine) -> None:
    """What only ends a slice has nothing else to do."""
