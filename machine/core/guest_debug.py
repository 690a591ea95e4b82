# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's own use of the debug registers, where the engine does not implement it.

The engine implements hardware breakpoints. `GuestWatchpoints` implements watchpoints. In software step (Arm ARM, D2.12)
the engine misses that MSR DAIFClr clears PSTATE.D: it caches whether the CPU steps, and recomputes that only when
something else changes. It stores the OS lock, which disables debug exceptions (D2.4.2), but does not act on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from armprobe.machine.field_checks import U64, boolean, integer
from armprobe.machine.state import Order

from .guest_watchpoints import GuestWatchpoints
from .pstate import PSTATE_D
from .software_step import MDSCR_KDE, MDSCR_MDE, MDSCR_SS
from .sysregs import SYSTEM_REGISTERS, Encoding

if TYPE_CHECKING:
    from .core import Core

_STEPS_EL1: Final = MDSCR_SS | MDSCR_KDE
_MDSCR: Final = SYSTEM_REGISTERS["mdscr_el1"]
_OSLAR: Final = Encoding(2, 0, 1, 0, 4)
_VALUES_AND_CONTROLS: Final = (4, 5, 6, 7)  # op2 of DBGBVR, DBGBCR, DBGWVR, DBGWCR; CRm is the number


class GuestDebug:
    """Follows the guest's values of the debug registers of one core.

    `RegisterAccess` passes it accesses, and the run loop calls `update`.
    """

    STATE: ClassVar = {"locked": boolean, "mdscr": integer(U64)}

    def __init__(self, core: Core, watchpoints: GuestWatchpoints) -> None:
        self._core = core
        self._watchpoints = watchpoints
        self.locked = True  # the OS lock, set by a cold reset (OSLSR_EL1.OSLK)
        self.mdscr = 0  # the guest's MDSCR_EL1 while the lock is held; the CPU's own has SS and MDE clear then
        self.stepping = False  # EL1 has been stepped: runs end at instructions that clear PSTATE.D
        self._changed = False
        core.machine.state.join(f"{core.name}.guest_debug", self, Order.CORE, self._restored)
        core.dispatcher.claim_step(self._masked)

    # As Registers of RegisterAccess.

    def allows_el0(self, register: Encoding, writes: bool) -> bool:
        """False: EL0 may access none of the debug registers."""
        return False

    def read(self, register: Encoding) -> int | None:
        """MDSCR_EL1 while the OS lock is held; None for the others, which the CPU holds."""
        return self.mdscr if register == _MDSCR and self.locked else None

    def write(self, register: Encoding, value: int) -> bool:
        """Follow a write. The CPU does it itself unless this returns True."""
        if register == _MDSCR and self.locked:
            self.mdscr = value & 0xFFFF_FFFF
            return True
        core = self._core
        if register == _OSLAR and bool(value & 1) != self.locked:
            self.locked = not self.locked
            if self.locked:
                self.mdscr = core.system(_MDSCR)
                core.set_system(_MDSCR, self.mdscr & ~(MDSCR_SS | MDSCR_MDE))
            else:
                core.set_system(_MDSCR, self.mdscr)
        elif register != _MDSCR and (register.crn != 0 or register.op2 not in _VALUES_AND_CONTROLS):
            return False
        self._look_again()
        return False

    def _look_again(self) -> None:
        """Have `update` called before the next instruction."""
        self._changed = True
        self._core.end_slice()

    def _restored(self) -> None:
        self._changed = True

    def _masked(self, core: Core) -> bool:
        """Drop a step exception after an instruction that has set PSTATE.D, such as MSR DAIFSet."""
        if not core.context.daif & PSTATE_D:
            return False
        core.dispatcher.forget_flags()
        return True

    # For the run loop.

    def update(self) -> None:
        """Between two slices: act on changed registers."""
        if self._changed:
            self._changed = False
            mdscr = self._core.system(_MDSCR)
            self._watchpoints.update(mdscr, self._core.machine.clock.executed)
            self.stepping = self.stepping or mdscr & _STEPS_EL1 == _STEPS_EL1
        self._watchpoints.tidy()
        if self.stepping:
            self._core.run_loop.end_slices_at(self._core.register_access.unmasking)
            self._core.refresh()

    def stepped_by_machine(self) -> None:
        """Follow a step at EL1 that the machine itself has enabled."""
        if not self.stepping:
            self._look_again()
