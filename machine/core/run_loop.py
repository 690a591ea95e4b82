# SPDX-License-Identifier: GPL-2.0-or-later
"""The run loop of one core: runs it for a slice, and acts on what ended the slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import unicorn

from armprobe.machine.devices.gic import Signal
from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U64, boolean, integer, several
from armprobe.machine.state import Order
from armprobe.machine.stop import Stop, StopReason

from .deferred_signals import calls_users_code
from .engine import ENGINE_PAGE
from .exceptions import EXTERNAL_ABORT, FAR_NOT_VALID, IL, SCTLR_NTWI, WRITE_NOT_READ, Class, Raised
from .guest_watchpoints import GuestWatchHit
from .native_engine import MASKS
from .pstate import PSTATE_SS

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

    from .core import Core

NAP: Final = 0.05  # seconds: the longest that guest time is held back at once
_BUS_ERRORS: Final = {
    unicorn.UC_ERR_READ_UNMAPPED: 0,
    unicorn.UC_ERR_WRITE_UNMAPPED: WRITE_NOT_READ,
    unicorn.UC_ERR_READ_PROT: 0,
    unicorn.UC_ERR_WRITE_PROT: WRITE_NOT_READ,
}

Place = tuple[int, int]


@dataclass
class Run:
    """One run of a core: to address `until`, if it is not None, and with interrupts taken or not.

    `end` is the count of instructions at which the run ends, and `limit` that at which its slices end. `asked` is
    whether the caller wants interrupts: a run of the past has those that there were. `start` is the PC and SP where it
    began, until that instruction has been executed. `watched` is true if the run before stopped there for a watchpoint.
    """

    until: int | None
    interrupts: bool
    end: int | None
    start: Place | None
    watched: bool
    limit: int | None
    asked: bool


class RunLoop:
    """Runs one core by slices. A handler of an exception may begin a run within a run."""

    STATE: ClassVar = {"waiting": boolean, "met": several(integer(U64), 2)}

    def __init__(self, core: Core) -> None:
        self._core = core
        self._machine = core.machine
        self._intercepts: dict[int, list[Callable[[Machine], None]]] = {}
        self._ends: set[int] = set()
        self.met: list[int] = []  # the PC and the count of instructions at the last call of intercepts
        self.watched_at: int | None = None  # the PC of the access that a watchpoint stopped the last run before
        core.machine.state.join(f"{core.name}.run_loop", self, Order.CORE, self._forget)
        core.dispatcher.claim_wfi(self._wfi_trapped)
        core.dispatcher.claim_fetch(self._cannot_fetch)

    @property
    def waiting(self) -> bool:
        """Whether the guest has executed WFI and still waits."""
        return bool(self._core.native.state.waiting)

    @waiting.setter
    def waiting(self, waiting: bool) -> None:
        self._core.native.state.waiting = waiting

    def intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """See `Machine.intercept`."""
        self._intercepts.setdefault(address, []).append(function)
        self._core.breakpoints.add(address)

    def wait(self) -> None:
        """Make the core wait for an interrupt, as WFI does. For hooks."""
        self.waiting = True
        self._core.dispatcher.end_slice = True

    def end_slices_at(self, addresses: set[int]) -> None:
        """End slices before and after the instructions at these addresses, from now on."""
        for address in addresses - self._ends:
            self._ends.add(address)
            self.intercept(address, _nothing)

    def unintercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """See `Machine.unintercept`."""
        functions = self._intercepts[address]
        functions.remove(function)
        if not functions:
            del self._intercepts[address]
        self._core.breakpoints.remove(address)

    def leave(self, pc: int) -> Callable[[], None]:
        """Begin a run that comes back to `pc`, where the core is now. The result restores the loop's present state."""
        clock, waiting, watched_at = self._machine.clock, self.waiting, self.watched_at
        skip = self._core.conditional_breakpoints.skip
        met = self.met == [pc, clock.executed]
        self.waiting = False

        def come_back() -> None:
            self.waiting, self.watched_at = waiting, watched_at
            self._core.conditional_breakpoints.skip = skip
            if met:
                self.met = [pc, clock.executed]

        return come_back

    def _forget(self) -> None:
        """Forget the last stop, when another state has been put in place."""
        self.watched_at = None
        self._core.dispatcher.stop = self._core.dispatcher.resume = None

    def begin(self, until: int | None, interrupts: bool, end: int | None) -> Run:
        """Begin a run at the core's PC, after completing the work left by the last stop."""
        core, context, dispatcher = self._core, self._core.context, self._core.dispatcher
        context.load()
        if dispatcher.resume is not None:
            resume, dispatcher.resume, dispatcher.stop = dispatcher.resume, None, None
            resume(core)
            context.store()
        pc = context.pc
        core.register_access.begin(pc)
        # A breakpoint or watchpoint at the instruction where the run starts does not stop it there, even if interrupts
        # come first, until that instruction is executed with the present stack pointer.
        start: Place = (pc, context.sp)
        core.conditional_breakpoints.skip = start
        watched, self.watched_at = self.watched_at == pc, None
        return Run(until, interrupts, end, start, watched, end, interrupts)

    def go_on(self, run: Run, end: int | None) -> Run:
        """Begin the next part of a run, up to the count `end`."""
        self._core.context.load()
        run.end = run.limit = end
        return run

    def update(self) -> None:
        """Between two slices: update timers and devices, and the core's debug registers and counters."""
        core, now = self._core, self._machine.clock.now
        core.forget_due()
        core.native.update_timers(now)
        for device in self._machine.devices.timed:
            device.update(now)
        core.guest_debug.update()
        if core.pmu.following:
            self.end_slices_at(core.register_access.returns)
            core.dispatcher.end_slice = True

    def slice(self, run: Run, most: int) -> Stop | None:
        """Run for up to `most` instructions, fewer if something needs attention. Returns the stop, if any."""
        machine, core, context, clock = self._machine, self._core, self._core.context, self._machine.clock
        dispatcher, breakpoints, conditional = core.dispatcher, core.breakpoints, core.conditional_breakpoints
        state, x = core.native.state, context.x
        length = self._length(most) if most > 1 else most
        signal = machine.gic.signal() if run.interrupts else Signal.NONE
        pending = signal is not Signal.NONE
        if state.waiting:
            if not pending and run.interrupts:
                return machine.scheduler.idle()
            state.waiting = False  # an interrupt ends the wait, and a debugger's step goes past a WFI
        context.load()
        if core.pmu.following:
            core.pmu.follow(context.el)
        if pending and not context.daif & MASKS[signal] and not core.native.is_aside(context.pc, clock.executed):
            dispatcher.take_interrupt(context, fiq=signal is Signal.FIQ)
            pending = False  # until the guest has acknowledged it, which ends the slice if there is another
        core.native.signal(signal if pending else Signal.NONE)
        pc = x[32]
        starting = run.start is not None and run.start == (pc, x[31])
        core.watchpoints.enabled = not (starting and run.watched)
        if pc in breakpoints:
            if self._call_intercepts(pc):
                return None
            if not starting and (stop := self._wanted(pc, run.until)) is not None:
                return stop
            error = self._execute(breakpoints.step_over, pc)
        else:
            length = 1 if starting and run.watched else length
            if length > 1 and run.interrupts:
                self._let_go_on(run, length, most)
            error = self._execute(core.run, pc, length)
        if starting and core.native.executed:
            run.start = conditional.skip = None
        if error is not None:
            self._bus_error(error)
        elif (arrived := conditional.take_hit()) is not None:
            return Stop(StopReason.BREAKPOINT, arrived)
        elif (hit := core.access_stop.take()) is None:
            if clock.paced and (ahead := clock.ahead(clock.now)) > 0.001:
                machine.console.wait(min(ahead, NAP))
        elif isinstance(hit, GuestWatchHit):
            context.load()
            dispatcher.deliver(hit.syndrome, hit.address)
            dispatcher.commit()
        else:
            self.watched_at = core.registers.pc
            return Stop(StopReason.WATCHPOINT, self.watched_at, str(hit), hit)
        return None

    def _length(self, most: int) -> int:
        """The instructions to run until the next timer, so that it interrupts at its instruction; `most` at most."""
        if deadlines := self.deadlines():
            most = min(most, min(deadlines) - self._machine.clock.now)
        overflow = self._core.pmu.until_overflow()
        return most if overflow is None else min(most, overflow)

    def _let_go_on(self, run: Run, length: int, most: int) -> None:
        """Let the C core begin further slices by itself, unless between them is something that only Python does.

        For runs that take interrupts. `length` is that of this slice, `most` that of others.
        """
        core, machine = self._core, self._machine
        if (
            machine.clock.paced
            or core.guest_debug.stepping
            or core.pmu.following
            or core.pmu.until_overflow() is not None
        ):
            return
        alarms = [device.deadline for device in machine.devices.timed if device.deadline is not None]
        core.native.go_on(most, run.limit, min(alarms, default=None))

    def deadlines(self) -> list[int]:
        """The counts at which one of the core's timers or a device acts next."""
        now = self._machine.clock.now
        deadlines = [timer.deadline for timer in self._core.timers.values()]
        deadlines += [device.deadline for device in self._machine.devices.timed]
        return [deadline for deadline in deadlines if deadline is not None and deadline > now]

    def _execute(self, run: Callable[..., unicorn.UcError | None], pc: int, *length: int) -> unicorn.UcError | None:
        core, clock = self._core, self._machine.clock
        core.breakpoints.sync_exits()
        core.dispatcher.delivered = False
        clock.running = core
        try:
            return run(pc, *length)
        finally:
            clock.settle()
            core.register_access.watch_found()

    def masks_interrupt(self) -> bool:
        """Whether an interrupt is pending that PSTATE masks. The context is loaded."""
        return bool(self._core.context.daif & MASKS[self._machine.gic.signal()])

    @calls_users_code
    def _call_intercepts(self, pc: int) -> bool:
        """Call the functions that intercept `pc`, once each time the guest arrives. Returns whether there were any."""
        functions = self._intercepts.get(pc)
        if not functions or self.met == [pc, self._machine.clock.executed]:
            return False
        for function in list(functions):
            function(self._machine)
        self.met = [pc, self._machine.clock.executed]
        return True

    def _wanted(self, pc: int, until: int | None) -> Stop | None:
        """The stop for the breakpoint at `pc`, if it is reported."""
        if pc == until:
            return Stop(StopReason.UNTIL, pc)
        if self._core.breakpoints.count(pc) > len(self._intercepts.get(pc, ())):
            return Stop(StopReason.BREAKPOINT, pc)
        return None

    def _wfi_trapped(self, core: Core) -> bool:
        """Handle a WFI with nothing pending, or a breakpoint, which the engine makes a WFI."""
        context, dispatcher = core.context, core.dispatcher
        if self._core.breakpoints.reached(context):
            context.pc += 4
        elif context.el == 0 and not context.system(context.layout.sctlr_el1) & SCTLR_NTWI:
            return False  # the guest traps it
        else:
            context.pc += 4
            context.pstate &= ~PSTATE_SS  # the WFI has been stepped
            self.wait()
        dispatcher.end_slice = True
        return True

    def _cannot_fetch(self, core: Core, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """Stop for a breakpoint that the engine cannot reach."""
        pc, breakpoints = core.context.pc, self._core.breakpoints
        if pc == breakpoints.stepping_over:
            return False
        if pc in breakpoints and fault_address == pc - ENGINE_PAGE:
            # The block that ends a run there has no instructions. The engine treats it as reaching from its first byte
            # to the byte before. At the start of a page, that byte may be in a page that cannot be executed.
            core.dispatcher.end_slice = True
            return True
        # The engine does not reach a breakpoint where no instruction can be fetched. gdb lets a function that it calls
        # return to a breakpoint at the program's entry point (GDB manual, "Calling"). When the MMU is on, the entry
        # point of a kernel is often unmapped. At EL0 the guest may be about to map the page.
        stop = self._wanted(pc, None) if core.context.el == 1 else None
        if stop is None:
            return False
        core.request_stop(stop)
        return True

    def _bus_error(self, error: unicorn.UcError) -> None:
        """Deliver a synchronous external abort for an access to neither memory nor a device (Arm ARM, D1.3.4).

        An instruction fetch from a device is delivered as such an abort too, which the architecture allows (K1.2,
        "Instruction fetches from Device memory"). A PC that is no multiple of 4 faults before the fetch (D1.3.5).
        """
        context, dispatcher = self._core.context, self._core.dispatcher
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
        dispatcher.deliver(syndrome, address)
        dispatcher.delivered = True
        dispatcher.commit()


def _nothing(machine: Machine) -> None:
    """An intercept that only ends a slice."""
