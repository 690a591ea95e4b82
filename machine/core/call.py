# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of guest functions (AAPCS64), from outside a run or from the handler of an exception."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

import unicorn

from armprobe.machine.errors import CallNotReturned, MachineError
from armprobe.machine.field_checks import U64, integer, optional
from armprobe.machine.input import InputKind
from armprobe.machine.state import Order
from armprobe.machine.stop import Stop, StopReason

from .context import Context
from .core import Core
from .hypercalls import CALL_RETURNED
from .instruction_words import hvc
from .pstate import DAIF, EL1H

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

_LIMIT: Final = 200_000_000  # instructions
_M64: Final = (1 << 64) - 1


class Calls:
    """Calls functions of one machine's guest.

    The functions in `on_begin` are called when a call begins, with the core at the function's first instruction. Each
    returns a function that restores the state from then. That is called if the call is abandoned, because of a stop
    before it returned or an exception.
    """

    STATE: ClassVar = {"return_address": optional(integer(U64))}

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.return_address: int | None = None  # of the HVC
        self._place = machine.scratch.reserve(4)  # for it: functions leave the address on the guest's stacks
        self._slept = False  # whether a called function has slept that must not
        self._watched: tuple[int, ...] = ()
        self.on_begin: list[Callable[[Core], Callable[[], None]]] = []
        machine.state.join("calls", self, Order.MEMORY)
        machine.claim_hvc(CALL_RETURNED, self._returned)

    def call(self, address: int, arguments: tuple[int, ...], limit: int | None = None) -> int:
        """See `Machine.call`. The call is abandoned after `limit` instructions."""
        scheduler = self._machine.scheduler
        taken = scheduler.take()
        try:
            return self._call(address, arguments, _LIMIT if limit is None else limit)
        finally:
            if taken:
                scheduler.give_back()

    def _call(self, address: int, arguments: tuple[int, ...], limit: int) -> int:
        machine, core, dispatcher = self._machine, self._machine.core, self._machine.core.dispatcher
        if len(arguments) > 8:  # as many as AAPCS64 passes in registers
            raise MachineError("a guest function can be called with at most eight arguments")
        if self.return_address is None:
            self.return_address = machine.scratch.reserved(self._place)
            machine.scratch.write_code(self.return_address, hvc(CALL_RETURNED).to_bytes(4, "little"))
        if why := self._no_code(address):
            raise MachineError(f"{machine.symbols.describe(address)} cannot be called: {why}")
        context = core.load()
        dispatcher.leave_hit()
        outer_run = machine.clock.running
        machine.clock.pause()
        held, core.held = core.held, False
        saved, from_el0 = context.save(), context.el == 0
        outer, masked = (dispatcher.stop, dispatcher.resume, dispatcher.hypercall), dispatcher.handler_daif
        dispatcher.stop = dispatcher.resume = None
        stop: Stop | None = None
        self._watch_sleep()
        self._slept = False
        abandon = [self._interrupts_abandoned()]
        try:
            with machine.scheduler.elsewhere(context.pc):
                if held:
                    context.daif = masked
                self._enter(context, address, arguments, self.return_address)
                machine.input.entered(InputKind.CALL, address, arguments)
                machine.timeline.call_begins()
                abandon += [begin(core) for begin in self.on_begin]
                context.store()
                core.refresh()
                stop = machine.scheduler.run(None, limit, interrupts=True)
                context.load()
                result = context.x[0]
                if held and stop.reason is StopReason.RETURNED:
                    masked = context.daif  # a function may return with a different mask
        finally:
            if stop is not None and stop.reason is StopReason.RETURNED:
                context.restore_code(saved, vectors=from_el0 or not self._manages_vectors())
            else:
                context.restore(saved)
            context.store()
            core.refresh()
            dispatcher.stop, dispatcher.resume, dispatcher.hypercall = outer
            dispatcher.handler_daif = masked
            machine.clock.running = outer_run
            core.held = dispatcher.end_slice = held
            if stop is None or stop.reason is not StopReason.RETURNED:
                core.forget_translations()  # the function may have changed page tables
                for put_back in abandon:
                    put_back()
            machine.timeline.call_ends(stop is not None and stop.reason is StopReason.RETURNED)
        if stop.reason is StopReason.INSTRUCTIONS:
            stop = replace(stop, text=f"it had executed {_LIMIT:,} instructions")
        if stop.reason is not StopReason.RETURNED:
            raise CallNotReturned(machine.symbols.describe(address), stop)
        if self._slept:
            warnings.warn(
                f"{machine.symbols.describe(address)} slept, which what the guest is stopped in must not, as the "
                "guest's log says: have a kworker call it (call kworker=yes; in Python session.guest.call)",
                stacklevel=4,
            )
        return result

    def _interrupts_abandoned(self) -> Callable[[], None]:
        """A function that ends interrupts that the guest takes from now on but does not finish handling."""
        gic, step = self._machine.gic, self._machine.core.software_step
        priorities, active, before = list(gic.active_priorities), gic.active, step.before

        def put_back() -> None:
            gic.abandon(priorities, active)
            step.before = before

        return put_back

    def _no_code(self, address: int) -> str:
        """Why there is no function at `address`; empty if there may be one."""
        if address % 4:
            return "the address of an instruction is a multiple of 4"
        core, bus = self._machine.core, self._machine.bus
        if core.load().el == 1 and (physical := core.physical(address, unicorn.UC_PROT_EXEC)) is not None:
            return "" if bus.ram_at(physical) is not None else "there is no memory there"
        try:
            mapping = self._machine.memory.translate(address)
        except MachineError:
            return "the guest maps nothing there"
        if bus.ram_at(mapping.physical) is None:
            return "there is no memory there"
        return "" if mapping.executable else "the guest has it mapped as data"

    def _returned(self, core: Core) -> bool:
        if self.return_address is None or core.context.pc != self.return_address + 4:
            return False
        core.request_stop(Stop(StopReason.RETURNED, core.context.pc))
        return True

    def _watch_sleep(self) -> None:
        """From now on note when the kernel complains of code that sleeps and must not, such as the idle task."""
        kernel = self._machine.kernel
        places = () if kernel is None else kernel.refuses_sleep
        if places != self._watched:
            for place in self._watched:
                self._machine.unintercept(place, self._note_sleep)
            for place in places:
                self._machine.intercept(place, self._note_sleep)
            self._watched = places

    def _note_sleep(self, machine: Machine) -> None:
        self._slept = True

    def _manages_vectors(self) -> bool:
        """Whether v0 to v31 are a user program's at EL1 too, and others after a call that let another task run."""
        kernel = self._machine.kernel
        return kernel is not None and kernel.manages_vectors

    def _enter(self, context: Context, address: int, arguments: tuple[int, ...], return_address: int) -> None:
        if context.el == 0:
            kernel = self._machine.kernel
            tasks = kernel.tasks if kernel is not None else None
            current = tasks.interrupted() if tasks is not None else context.sp
            context.set_system(context.layout.sp_el0, current)
            context.sp, context.pstate = context.system(context.layout.sp_el1), DAIF | EL1H
        context.sp &= ~15
        for i, argument in enumerate(arguments):
            context.x[i] = argument & _M64
        context.x[30], context.pc = return_address, address
