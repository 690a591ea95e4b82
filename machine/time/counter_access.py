# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer's system registers. The guest's accesses go to the core's timers and the machine's clock.

The CPU's own CNTKCTL_EL1 makes every access of EL0 trap. `RegisterAccess.trapped` then does those that the guest
allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from armprobe.machine.core.sysregs import SYSTEM_REGISTERS, Encoding
from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.field_checks import U64, integer
from armprobe.machine.state import Order

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

_CNTFRQ: Final = (0, 0)  # (CRm, op2), with op0 3, op1 3, CRn 14
_PHYSICAL_COUNTERS: Final = {(0, 1), (0, 5)}  # CNTPCT and its self-synchronised form
_VIRTUAL_COUNTERS: Final = {(0, 2), (0, 6)}
_CNTKCTL: Final = SYSTEM_REGISTERS["cntkctl_el1"]
# The bits of CNTKCTL_EL1 that allow accesses of EL0 (Arm ARM, D19.12.15)
_EL0PCTEN, _EL0VCTEN, _EL0VTEN, _EL0PTEN = 1 << 0, 1 << 1, 1 << 8, 1 << 9
_TIMER_ALLOWED_BY: Final = {2: _EL0PTEN, 3: _EL0VTEN}
_CNTKCTL_ALLOWS_EL0: Final = _EL0PCTEN | _EL0VCTEN | _EL0VTEN | _EL0PTEN


class CounterAccess:
    """One core's timer registers, for `RegisterAccess` and for traps of EL0."""

    STATE: ClassVar = {"control": integer(U64)}

    def __init__(self, core: Core) -> None:
        self._core, self._clock, self._timers = core, core.machine.clock, core.timers
        self.control = 0  # CNTKCTL_EL1 as the guest set it; the CPU's own allows EL0 nothing
        core.machine.state.join(f"{core.name}.counter_access", self, Order.CORE)

    def allows_el0(self, register: Encoding, writes: bool) -> bool:
        """Whether CNTKCTL_EL1 lets EL0 make an access."""
        op0, op1, crn, crm, op2 = register
        return (op0, op1, crn) == (3, 3, 14) and crm < 8 and bool(self.control & _allowed_by(crm, op2))

    def read(self, register: Encoding) -> int | None:
        """The value of a timer register; None for other registers."""
        op0, op1, crn, crm, op2 = register
        if (op0, op1, crn) == (3, 3, 14):
            return self._read(crm, op2)
        return self.control if register == _CNTKCTL else None

    def write(self, register: Encoding, value: int) -> bool:
        """Write a writable timer register; False for other registers."""
        op0, op1, crn, crm, op2 = register
        if register == _CNTKCTL:
            self.control = value & 0xFFFF_FFFF
            self._core.set_system(_CNTKCTL, self.control & ~_CNTKCTL_ALLOWS_EL0)
            return True
        return (op0, op1, crn) == (3, 3, 14) and self._write_timer(crm, op2, value)

    def _read(self, crm: int, op2: int) -> int | None:
        if (crm, op2) in _PHYSICAL_COUNTERS or (crm, op2) in _VIRTUAL_COUNTERS:
            return self._clock.now
        if crm in self._timers and op2 <= 2:
            return self._timers[crm].read(op2)
        return FREQUENCY if (crm, op2) == _CNTFRQ else None

    def _write_timer(self, crm: int, op2: int, value: int) -> bool:
        if crm not in self._timers or op2 > 2:
            return False
        timer = self._timers[crm]
        timer.write(op2, value)
        if timer.deadline is not None:  # the length of the slice was chosen for the old deadline
            self._core.limit(max(0, timer.deadline - self._clock.now))
        return True


def _allowed_by(crm: int, op2: int) -> int:
    """The bits of CNTKCTL_EL1 any of which lets EL0 access the register."""
    if crm in _TIMER_ALLOWED_BY:
        return _TIMER_ALLOWED_BY[crm]
    if (crm, op2) == _CNTFRQ:
        return _EL0PCTEN | _EL0VCTEN
    return _EL0PCTEN if (crm, op2) in _PHYSICAL_COUNTERS else _EL0VCTEN
