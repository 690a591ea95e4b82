# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPU interface of the GICv2 in Python from which native/gic.c was written, kept to compare with."""

from __future__ import annotations

from .gic import ACK_CTL, CONTROL_BITS, MIN_BINARY_POINT, OTHER_GROUP, PRIORITY_BITS, SPURIOUS, Gic


class GicCpuInterface:
    """The GICC registers, all of which are words."""

    name = "gic-cpu"

    def __init__(self, gic: Gic) -> None:
        self._gic = gic

    def read(self, offset: int, size: int) -> int:
        """GICC registers."""
        gic = self._gic
        match offset:
            case 0x00:
                return gic.control
            case 0x04:
                return gic.mask
            case 0x08:
                return gic.binary_points[0]
            case 0x0C:
                return self._acknowledge(0)
            case 0x14:
                return gic.running_priority
            case 0x18:
                return self._of_group(gic.highest_pending(), 0)
            case 0x1C:
                return gic.binary_points[1]
            case 0x20:
                return self._acknowledge(1)
            case 0x28:
                return self._of_group(gic.highest_pending(), 1)
            case 0xD0:
                return gic.active_priorities[0]
            case 0xE0:
                return gic.active_priorities[1]
            case 0xFC:
                return 0x0202_043B  # GICv2, Arm
        return 0

    def _of_group(self, number: int, group: int) -> int:
        """The INTID that `group`'s registers report for an interrupt.

        Group 1's show no interrupt of group 0. Group 0's show that one of group 1 exists, or its INTID with AckCtl.
        """
        if number == SPURIOUS or self._gic.group_of(number) == group:
            return number
        if group == 1:
            return SPURIOUS
        return number if self._gic.control & ACK_CTL else OTHER_GROUP

    def _acknowledge(self, group: int) -> int:
        """Read GICC_IAR or GICC_AIAR: the signalled interrupt becomes active if it belongs to `group`."""
        number = self._of_group(self._gic.pending_interrupt(), group)
        if number < OTHER_GROUP:
            self._gic.acknowledge(number)
        return number

    def write(self, offset: int, size: int, value: int) -> None:
        """GICC registers."""
        gic = self._gic
        match offset:
            case 0x00:
                gic.control = value & CONTROL_BITS
            case 0x04:
                gic.mask = value & PRIORITY_BITS
            case 0x08:
                gic.binary_points[0] = max(value & 7, MIN_BINARY_POINT)
            case 0x1C:
                gic.binary_points[1] = max(value & 7, MIN_BINARY_POINT + 1)
            case 0x10 | 0x24:  # GICC_EOIR, GICC_AEOIR
                gic.end(value & 0x3FF)
            case 0xD0:
                gic.active_priorities[0] = value & 0xFFFF_FFFF
            case 0xE0:
                gic.active_priorities[1] = value & 0xFFFF_FFFF
            case 0x1000:
                gic.deactivate(value & 0x3FF)
