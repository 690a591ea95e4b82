# SPDX-License-Identifier: GPL-2.0-or-later
"""The GICv2 interrupt controller: Python's view of what native/gic.c does (Arm IHI 0048B)."""

from __future__ import annotations

import ctypes
import enum
from typing import Any, ClassVar, Final

from armprobe.machine.field_checks import U8, U32, integer, several
from armprobe.machine.native.binding import function, structure
from armprobe.machine.state import Order, StateRegistry

from .native_device import NativeDevice

LINES: Final = 64  # INTIDs 0..15 are SGIs, 16..31 PPIs, 32..63 SPIs
SPURIOUS: Final = 1023
_SGIS: Final = 0xFFFF

_SET_LINE: Final = function("armprobe_gic_set_line", None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_bool)
_PENDING: Final = function("armprobe_gic_pending", ctypes.c_uint32, ctypes.c_void_p)
_SIGNAL: Final = function("armprobe_gic_signal", ctypes.c_uint32, ctypes.c_void_p)


class Signal(enum.IntEnum):
    """The signal from a CPU interface to its CPU; `enum gic_signal` of native.h."""

    NONE = 0
    IRQ = 1
    FIQ = 2


_SIGNALS: Final = tuple(Signal)


@structure("gic_interface")
class GicCpuInterface(NativeDevice, code="gic_interface"):
    """The interface of one CPU: GICC_CTLR, GICC_PMR, GICC_BPR and ABPR, GICC_APR0 and NSAPR0.

    `active_priorities` has one bit per group priority, by group.
    """

    name = "gic-cpu"

    gic: int
    control: int
    mask: int
    binary_points: ctypes.Array[ctypes.c_uint32]
    active_priorities: ctypes.Array[ctypes.c_uint32]

    def pending_interrupt(self) -> int:
        """The INTID to be signalled to the CPU now, or 1023."""
        return int(_PENDING(self.at))


def _of_interface(name: str) -> Any:
    """A number or an array of the first CPU's interface, as an attribute."""

    def get(gic: Gic) -> Any:
        return getattr(gic.interfaces[0], name)

    def put(gic: Gic, value: Any) -> None:
        setattr(gic.interfaces[0], name, value if isinstance(value, int) else tuple(value))

    return property(get, put)


@structure("gic")
class Gic(NativeDevice, code="gic"):
    """The distributor, and the CPU interfaces. `enable` to `edge` have one bit per INTID.

    `latched` are those pending by an edge, an SGI or a write to ISPENDR, and `level` are the input lines as devices
    drive them. `enabled` is GICD_CTLR, one bit per group. `control` and the three after it are the first CPU's.
    """

    name = "gic"
    STATE: ClassVar = {
        "enabled": integer(4),
        **dict.fromkeys(("enable", "latched", "level", "active", "group", "edge"), integer(1 << LINES)),
        "priority": several(integer(U8), LINES, LINES),
        "control": integer(1 << 10),
        "mask": integer(U8),
        "binary_points": several(integer(8), 2, 2),
        "active_priorities": several(integer(U32), 2, 2),
    }

    enabled: int
    enable: int
    latched: int
    level: int
    active: int
    group: int
    edge: int
    priorities: ctypes.Array[ctypes.c_uint8]
    interfaces: ctypes.Array[GicCpuInterface]

    control = _of_interface("control")
    mask = _of_interface("mask")
    binary_points = _of_interface("binary_points")
    active_priorities = _of_interface("active_priorities")

    def __init__(self, state: StateRegistry) -> None:
        super().__init__()
        self.enable = self.edge = _SGIS
        self._first = self.interfaces[0].at  # once: it is asked before each slice
        for interface in self.interfaces:
            interface.gic = self.at
            interface.binary_points[:] = [2, 3]  # the least that they can be
        state.join(self.name, self, Order.DEVICES)

    @property
    def priority(self) -> ctypes.Array[ctypes.c_uint8]:
        """The priority of each INTID."""
        return self.priorities

    @priority.setter
    def priority(self, priorities: list[Any]) -> None:
        self.priorities[:] = priorities

    def set_line(self, number: int, asserted: bool) -> None:
        """Set the input line of INTID `number`, as a device drives it."""
        _SET_LINE(self.at, number, asserted)

    def pending_interrupt(self) -> int:
        """The INTID to be signalled to the first CPU now, or 1023."""
        return self.interfaces[0].pending_interrupt()

    def signal(self) -> Signal:
        """How the pending interrupt is signalled to the first CPU: group 0 may use FIQ (2.3)."""
        return _SIGNALS[int(_SIGNAL(self._first))]

    def abandon(self, priorities: list[int], active: int) -> None:
        """Go back to these active interrupts. Interrupts taken since are abandoned and become pending again."""
        self.latched |= self.active & ~active & self.edge
        self.active_priorities, self.active = priorities, active
