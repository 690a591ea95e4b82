# SPDX-License-Identifier: GPL-2.0-or-later
"""Software step: the CPU executes one instruction and takes a debug exception (Arm ARM, D2.12).

At EL1 it is active while MDSCR_EL1.SS and KDE are set, PSTATE.D is clear and the OS lock is not held. PSTATE.SS allows
one instruction to be executed first. Only an ERET from a state where software step is inactive to one where it is
active sets it, from SPSR_EL1.SS. The CPU does all of that. This module sets the registers and provides the ERET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from armprobe.machine.field_checks import U64, integer, optional, several
from armprobe.machine.state import Order

from .context import Context
from .pstate import EL1H, PSTATE_SS

if TYPE_CHECKING:
    from .core import Core

MDSCR_SS, MDSCR_KDE, MDSCR_MDE = 1 << 0, 1 << 13, 1 << 15
_ENABLED: Final = MDSCR_SS | MDSCR_KDE | MDSCR_MDE
_ERET: Final = 0xD69F_03E0


class SoftwareStep:
    """Steps one core from inside the handler of an exception."""

    STATE: ClassVar = {"eret": optional(integer(U64)), "before": integer(U64), "saved": several(integer(U64), 2)}

    def __init__(self, core: Core) -> None:
        self._core = core
        self.eret: int | None = None  # the address of the machine's own ERET
        self.before = 0  # the three bits of MDSCR_EL1 as the guest set them
        self.saved: list[int] = []  # SPSR_EL1 and ELR_EL1 before the ERET, until the step has been taken
        core.machine.state.join(f"{core.name}.software_step", self, Order.CORE)

    def enabled(self, context: Context) -> bool:
        """Whether MDSCR_EL1 enables steps. PSTATE.D decides whether they are taken."""
        return bool(context.system(context.layout.mdscr_el1) & MDSCR_SS)

    def enable(self, context: Context) -> None:
        """Enable steps at EL1."""
        mdscr = context.system(context.layout.mdscr_el1)
        self.before = mdscr & _ENABLED & ~MDSCR_SS
        context.set_system(context.layout.mdscr_el1, mdscr | _ENABLED)
        self._core.guest_debug.stepped_by_machine()

    def disable(self, context: Context) -> None:
        """Disable steps, and bring the context of the exception up to date with the CPU."""
        context.set_system(context.layout.mdscr_el1, context.system(context.layout.mdscr_el1) & ~_ENABLED | self.before)
        context.pstate &= ~PSTATE_SS
        if self.saved:  # the guest has executed no exception return of its own
            for offset, value in zip((context.layout.spsr_el1, context.layout.elr_el1), self.saved, strict=True):
                context.set_system(offset, value)
            self.saved = []
        self._synchronize(context)

    def exception_return(self, context: Context) -> None:
        """Have the CPU itself execute an exception return to the registers in `context`, with SPSR_EL1.SS set.

        The ERET runs with the PSTATE.DAIF of the exception's handler. Raises MachineError if the machine has no memory
        of its own to put it in.
        """
        if self.eret is None:
            scratch = self._core.machine.scratch
            self.eret = scratch.allocate(4)
            scratch.write_code(self.eret, _ERET.to_bytes(4, "little"))
        layout, pstate = context.layout, context.pstate
        self.saved = [context.system(layout.spsr_el1), context.system(layout.elr_el1)]
        context.set_system(layout.spsr_el1, pstate | PSTATE_SS)
        context.set_system(layout.elr_el1, context.pc)
        if not pstate & 1:  # SP_EL0 was in use; the handler runs on SP_EL1
            context.set_system(layout.sp_el0, context.sp)
            context.sp = context.system(layout.sp_el1)
        masked = self._core.dispatcher.handler_daif
        context.pstate = masked | EL1H
        context.pc = self.eret
        self._synchronize(context)

    def _synchronize(self, context: Context) -> None:
        """Have the CPU recompute the state derived from MDSCR_EL1 and PSTATE, which a context holds too."""
        context.store()
        self._core.refresh()
        context.load()
