# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace of the debug exceptions of a hit, with the effect of each on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from armprobe.machine import Machine
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.pstate import DAIF

from .eras.hit_rules import Status
from .site import Site


class Moment(NamedTuple):
    """One event: `what` happened at the machine's instruction count `instructions`, and the registers then.

    `pstate` is that of the exception handler, and `spsr` and `mdscr` are SPSR_EL1 and MDSCR_EL1 in it. SPSR_EL1 holds
    PSTATE of the code interrupted at `pc`, or of the code that will be returned to. `status` is that of the kprobe
    being handled.
    """

    instructions: int
    what: str
    pc: int
    pstate: int
    spsr: int
    mdscr: int
    status: Status


Observer = Callable[[Moment], object]


class Moments:
    """Tells `observer`, if there is one, about one machine's moments. `internal` are probes that no user registered."""

    def __init__(self, machine: Machine, sites: Mapping[int, Site], internal: Mapping[int, Site]) -> None:
        self._machine = machine
        self._sites = sites
        self._internal = internal
        self.observer: Observer | None = None

    @calls_users_code
    def tell(self, core: Core, what: str, status: Status, returning: bool = False) -> None:
        """Report `what` as happening now: in an exception handler or, with `returning`, at its end."""
        if self.observer is None:
            return
        context, dispatcher = core.context, core.dispatcher
        pstate = context.pstate
        spsr, mdscr = context.system(context.layout.spsr_el1), context.system(context.layout.mdscr_el1)
        # An exception that is not delivered to the guest changes no registers. The values that the kernel would see are
        # computed here. For an HVC they are right already, as the kernel has a `bl` there, and so they are at the CPU's
        # own ERET.
        if not dispatcher.hypercall and not (returning and context.pc == core.software_step.eret):
            pstate, spsr = pstate & ~DAIF | dispatcher.handler_daif, pstate
        try:
            self.observer(Moment(self._machine.instructions, what, context.pc, pstate, spsr, mdscr, status))
        except BaseException as error:  # the run ends with it, after this exception has been handled
            core.fail(error)

    def where(self, address: int) -> str:
        """A name for virtual `address`: a symbol and an offset, or one of our own places."""
        machine = self._machine
        if address in machine.scratch:
            if address in self._internal:
                return "kretprobe_trampoline"
            if address == machine.core.software_step.eret:
                return "the handler's ERET"
            for site in (*self._sites.values(), *self._internal.values()):
                if site.slot and 0 <= address - site.slot <= site.stepping.size:
                    name = self.where(site.addr)
                    return f"the slot of {name}" if address == site.slot else f"what is behind the slot of {name}"
        return machine.symbols.describe(address)
