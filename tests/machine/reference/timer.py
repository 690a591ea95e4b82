# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer in Python from which native/timer.c was written, kept to compare with (Arm ARM, D11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from armprobe.machine.field_checks import U64, integer
from armprobe.machine.state import Order, StateRegistry

FREQUENCY: Final = 62_500_000  # Hz
_ENABLE, _IMASK, _ISTATUS = 1, 2, 4
_MASK64: Final = (1 << 64) - 1


class GenericTimer:
    """One timer, virtual or physical: CTL, CVAL and TVAL against `count`, driving `interrupt` by level."""

    STATE: ClassVar = {"control": integer(8), "compare": integer(U64)}

    def __init__(
        self, name: str, state: StateRegistry, count: Callable[[], int], interrupt: Callable[[bool], None]
    ) -> None:
        self.name = name
        self._count, self._interrupt = count, interrupt
        self.control = 0
        self.compare = 0
        state.join(name, self, Order.DEVICES)

    @property
    def deadline(self) -> int | None:
        """The count at which the timer will assert its interrupt, or None if it is disabled or masked."""
        return self.compare if self.control & (_ENABLE | _IMASK) == _ENABLE else None

    def update(self, count: int) -> None:
        """Drive the interrupt line to its state at `count`."""
        self._interrupt(self.control & (_ENABLE | _IMASK) == _ENABLE and count >= self.compare)

    def read(self, register: int) -> int:
        """Register 0 is TVAL, 1 CTL, 2 CVAL (op2 of the system register's encoding)."""
        if register == 0:
            return (self.compare - self._count()) & 0xFFFF_FFFF
        if register == 1:
            fired = self.control & _ENABLE and self._count() >= self.compare
            return self.control | (_ISTATUS if fired else 0)
        return self.compare

    def write(self, register: int, value: int) -> None:
        """Register 0 is TVAL, 1 CTL, 2 CVAL."""
        if register == 0:
            offset = value & 0xFFFF_FFFF
            self.compare = (self._count() + offset - (offset >> 31 << 32)) & _MASK64
        elif register == 1:
            self.control = value & (_ENABLE | _IMASK)
        else:
            self.compare = value & _MASK64
        self.update(self._count())
