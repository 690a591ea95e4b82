# SPDX-License-Identifier: GPL-2.0-or-later
"""The GICv2 in Python from which native/gic.c was written, kept to compare with (Arm IHI 0048B).

This module has the distributor and the decisions of the CPU interface. The CPU interface's registers are in `gic_cpu`.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final

from armprobe.machine.field_checks import U8, U32, integer, several
from armprobe.machine.state import Order, StateRegistry

LINES: Final = 64  # INTIDs 0..15 are SGIs, 16..31 PPIs, 32..63 SPIs
SPURIOUS: Final = 1023
OTHER_GROUP: Final = 1022
"""The INTID that group 0's registers return for an interrupt of group 1."""
IDLE_PRIORITY: Final = 0xFF
PRIORITY_BITS: Final = 0xF8  # 32 levels
MIN_BINARY_POINT: Final = 2  # the group priority is all five priority bits
_ALL: Final = (1 << LINES) - 1
_SGIS: Final = 0xFFFF
ACK_CTL, FIQ_EN, CBPR, EOI_MODE = 1 << 2, 1 << 3, 1 << 4, 1 << 9  # GICC_CTLR
CONTROL_BITS: Final = 3 | ACK_CTL | FIQ_EN | CBPR | 3 << 5 | EOI_MODE


class Signal(enum.Enum):
    """The signal from the CPU interface to the CPU."""

    NONE = enum.auto()
    IRQ = enum.auto()
    FIQ = enum.auto()


class Gic:
    """The distributor, and the decisions of the CPU interface."""

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

    def __init__(self, state: StateRegistry) -> None:
        self.enabled = 0  # GICD_CTLR: one bit per group
        self.enable = _SGIS  # these six: one bit per INTID
        self.latched = 0  # pending by an edge, an SGI or a write to ISPENDR
        self.level = 0  # the input lines as devices drive them
        self.active = 0
        self.group = 0
        self.edge = _SGIS
        self.priority = [0] * LINES
        self.control = 0  # GICC_CTLR
        self.mask = 0  # GICC_PMR
        self.binary_points = [MIN_BINARY_POINT, MIN_BINARY_POINT + 1]  # GICC_BPR, GICC_ABPR
        self.active_priorities = [0, 0]  # GICC_APR0, GICC_NSAPR0: one bit per group priority, by group
        state.join(self.name, self, Order.DEVICES)

    def set_line(self, number: int, asserted: bool) -> None:
        """Set the input line of INTID `number`, as a device drives it."""
        bit = 1 << number
        if asserted and not self.level & bit and self.edge & bit:
            self.latched |= bit
        self.level = self.level | bit if asserted else self.level & ~bit

    @property
    def pending(self) -> int:
        """The pending state of all INTIDs, one bit each."""
        return self.latched | self.level & ~self.edge

    @property
    def running_priority(self) -> int:
        """The highest active group priority; 0xff when no interrupt is active (4.4.6)."""
        active = self.active_priorities[0] | self.active_priorities[1]
        return (active & -active).bit_length() - 1 << 3 if active else IDLE_PRIORITY

    def group_of(self, number: int) -> int:
        """The group of INTID `number`, 0 or 1."""
        return self.group >> number & 1

    def group_priority(self, number: int) -> int:
        """The part of the priority that decides on preemption (3.3.3). With GICC_ABPR it is one bit longer."""
        group = self.group_of(number)
        point = self.binary_points[0] if not group or self.control & CBPR else self.binary_points[1] - 1
        return self.priority[number] & -1 << point + 1

    def highest_pending(self) -> int:
        """The pending interrupt of highest priority whose INTID and group are enabled, or 1023."""
        ready = self.pending & self.enable & ~self.active
        if not ready:
            return SPURIOUS
        groups = self.enabled & self.control
        if groups & 3 != 3:
            ready &= (self.group if groups & 2 else 0) | (_ALL & ~self.group if groups & 1 else 0)
        best, highest = SPURIOUS, IDLE_PRIORITY + 1
        while ready:
            number = (ready & -ready).bit_length() - 1
            if self.priority[number] < highest:
                best, highest = number, self.priority[number]
            ready &= ready - 1
        return best

    def pending_interrupt(self) -> int:
        """The INTID to be signalled to the CPU now, or 1023."""
        number = self.highest_pending()
        if number == SPURIOUS or self.priority[number] >= self.mask:
            return SPURIOUS
        return number if self.group_priority(number) < self.running_priority else SPURIOUS

    def signal(self) -> Signal:
        """How the CPU interface signals the pending interrupt: group 0 may use FIQ (2.3)."""
        number = self.pending_interrupt()
        if number == SPURIOUS:
            return Signal.NONE
        return Signal.FIQ if self.control & FIQ_EN and not self.group_of(number) else Signal.IRQ

    def acknowledge(self, number: int) -> None:
        """Make INTID `number`, the interrupt being signalled, active."""
        self.latched &= ~(1 << number)
        self.active |= 1 << number
        self.active_priorities[self.group_of(number)] |= 1 << (self.group_priority(number) >> 3)

    def end(self, number: int) -> None:
        """Write GICC_EOIR: drop the running priority (4.4.5) and, without EOImode, deactivate the interrupt."""
        if number >= LINES:
            return
        group = self.group_of(number)
        active = self.active_priorities[group]
        self.active_priorities[group] = active & active - 1
        if not self.control & EOI_MODE:
            self.deactivate(number)

    def deactivate(self, number: int) -> None:
        """Deactivate an interrupt, as a write of GICC_DIR does."""
        if number < LINES:
            self.active &= ~(1 << number)

    def abandon(self, priorities: list[int], active: int) -> None:
        """Go back to these active interrupts. Interrupts taken since are abandoned and become pending again."""
        self.latched |= self.active & ~active & self.edge
        self.active_priorities, self.active = priorities, active

    def read(self, offset: int, size: int) -> int:
        """GICD registers (IHI 0048B, 4.3)."""
        if 0x400 <= offset < 0x400 + LINES:
            first = offset - 0x400
            return sum(self.priority[first + i] << 8 * i for i in range(min(size, LINES - first)))
        word = offset & ~3
        value = self._read_word(word) | (self._read_word(word + 4) << 32 if size == 8 else 0)
        return value >> 8 * (offset - word) & ((1 << 8 * size) - 1)

    def _read_word(self, offset: int) -> int:
        first = (offset & 0x7F) * 8  # the first INTID of a one-bit-each register
        match offset & ~0x7F:
            case 0x080:
                return self._bits(self.group, first)
            case 0x100 | 0x180:
                return self._bits(self.enable, first)
            case 0x200 | 0x280:
                return self._bits(self.pending, first)
            case 0x300 | 0x380:
                return self._bits(self.active, first)
        if 0xC00 <= offset < 0xC00 + LINES // 4:
            first = (offset - 0xC00) * 4
            return sum((self.edge >> first + i & 1) << 2 * i + 1 for i in range(16))
        if 0xF10 <= offset < 0xF30:  # bit 0 of a byte: from this CPU, which is the only one
            return sum((self.latched >> (offset & 0xC) + i & 1) << 8 * i for i in range(4))
        match offset:
            case 0x000:
                return self.enabled
            case 0x004:
                return LINES // 32 - 1  # one CPU, no Security Extensions
            case 0x008:
                return 0x43B  # Arm
            case 0xFE8:
                return 0x2B  # architecture revision 2
        return 0  # GICD_ITARGETSR among others: RAZ/WI where there is one CPU (4.3.12)

    @staticmethod
    def _bits(state: int, first: int) -> int:
        return state >> first & 0xFFFF_FFFF

    def write(self, offset: int, size: int, value: int) -> None:
        """GICD registers."""
        if size == 8:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, 4, value >> 32)
            return
        if 0x400 <= offset < 0x400 + LINES:
            for i in range(min(size, LINES - (offset - 0x400))):
                self.priority[offset - 0x400 + i] = value >> 8 * i & PRIORITY_BITS
            return
        shift = (offset & 3) * 8
        value, written = value << shift, (1 << 8 * size) - 1 << shift  # the mask of written bits
        offset &= ~3
        first = (offset & 0x7F) * 8
        self._write_bits(offset & ~0x7F, value << first & _ALL, written << first & _ALL)
        if 0xC04 <= offset < 0xC00 + LINES // 4:  # SGIs are always edge-triggered
            first = (offset - 0xC00) * 4
            for i in (i for i in range(16) if written >> 2 * i + 1 & 1):
                bit = 1 << first + i
                self.edge = self.edge | bit if value >> 2 * i + 1 & 1 else self.edge & ~bit
        elif offset == 0x000 and written & 3:
            self.enabled = value & 3
        elif offset == 0xF00:  # SGIR: to this CPU if it is in the list, or if the sender asks for itself
            to_list, to_self = value >> 24 & 3 == 0 and value >> 16 & 1, value >> 24 & 3 == 2
            if to_list or to_self:
                self.latched |= 1 << (value & 15)
        elif 0xF10 <= offset < 0xF30:
            bits = sum(1 << (offset & 0xC) + i for i in range(4) if value >> 8 * i & 1)
            self.latched = self.latched | bits if offset >= 0xF20 else self.latched & ~bits

    def _write_bits(self, register: int, lines: int, written: int) -> None:
        """Write a register with one bit per INTID: `lines` are the bits set, `written` the bits written."""
        match register:
            case 0x080:
                self.group = self.group & ~written | lines
            case 0x100:
                self.enable |= lines
            case 0x180:
                self.enable &= ~lines | _SGIS
            case 0x200:
                self.latched |= lines & ~_SGIS
            case 0x280:
                self.latched &= ~lines | _SGIS
            case 0x300:
                self.active |= lines
            case 0x380:
                self.active &= ~lines
