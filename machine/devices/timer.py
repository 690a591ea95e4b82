# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer's EL1 timers (Arm ARM, D11), which count instructions, compare and interrupt: native/timer.c.

Unicorn's own timer reads the host's clock, drops writes and never interrupts, so the guest's accesses are routed here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import ClassVar, Final

from armprobe.machine.field_checks import U64, integer
from armprobe.machine.native.binding import function, structure
from armprobe.machine.state import Order, StateRegistry

from .gic import Gic

FREQUENCY: Final = 62_500_000  # Hz
_NEVER: Final = (1 << 64) - 1  # TIMER_NEVER

_U64, _U32, _AT = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
_READ: Final = function("armprobe_timer_read", _U64, _AT, _U64, _U32)
_WRITE: Final = function("armprobe_timer_write", None, _AT, _U64, _U32, _U64)
_UPDATE: Final = function("armprobe_timer_update", None, _AT, _U64)
_DEADLINE: Final = function("armprobe_timer_deadline", _U64, _AT)


@structure("timer")
class GenericTimer(ctypes.Structure):
    """One timer, virtual or physical: CTL, CVAL and TVAL against `count`, driving line `intid` of `gic` by level."""

    STATE: ClassVar = {"control": integer(8), "compare": integer(U64)}

    gic: int
    intid: int
    control: int
    compare: int

    def __init__(self, name: str, state: StateRegistry, count: Callable[[], int], gic: Gic, intid: int) -> None:
        super().__init__()
        self.name = name
        self.at = ctypes.addressof(self)
        self._count, self._gic = count, gic
        self.gic, self.intid = gic.at, intid
        state.join(name, self, Order.DEVICES)

    @property
    def deadline(self) -> int | None:
        """The count at which the timer will assert its interrupt, or None if it is disabled or masked."""
        deadline = int(_DEADLINE(self.at))
        return None if deadline == _NEVER else deadline

    def update(self, count: int) -> None:
        """Drive the interrupt line to its state at `count`."""
        _UPDATE(self.at, count)

    def read(self, register: int) -> int:
        """Register 0 is TVAL, 1 CTL, 2 CVAL (op2 of the system register's encoding)."""
        return int(_READ(self.at, self._count(), register))

    def write(self, register: int, value: int) -> None:
        """Register 0 is TVAL, 1 CTL, 2 CVAL."""
        _WRITE(self.at, self._count(), register, value)
