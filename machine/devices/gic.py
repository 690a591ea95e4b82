# SPDX-License-Identifier: GPL-2.0-or-later
"""A GICv2 interrupt controller for one CPU (Arm IHI 0048B): distributor and CPU interface."""

from __future__ import annotations

from typing import Final

LINES: Final = 64  # INTIDs 0..15 are SGIs, 16..31 PPIs, 32..63 SPIs
SPURIOUS: Final = 1023
_IDLE_PRIORITY: Final = 0xFF
_ALWAYS_ENABLED: Final = 0xFFFF  # SGIs


class Gic:
    """The distributor. `pending_interrupt` says what the CPU interface would acknowledge."""

    name = "gic"
    STATE = (
        "enabled", "enable", "latched", "level", "active", "group", "edge", "priority",
        "cpu_enabled", "mask", "running", "eoi_mode",
    )  # fmt: skip

    def __init__(self) -> None:
        self.enabled = 0
        self.enable = _ALWAYS_ENABLED  # these six: one bit an INTID
        self.latched = 0  # pending by an edge, an SGI or a write to ISPENDR
        self.level = 0  # the input lines as devices drive them
        self.active = 0
        self.group = 0
        self.edge = _ALWAYS_ENABLED
        self.priority = [0] * LINES
        # The CPU interface's state lives here too, so that one place decides.
        self.cpu_enabled = 0
        self.mask = 0
        self.running: list[tuple[int, int]] = []  # active interrupts as (INTID, its priority), innermost last
        self.eoi_mode = 0

    def set_line(self, number: int, asserted: bool) -> None:
        """A device drives the input line of INTID `number`."""
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
        """The priority of the innermost active interrupt, 0xff when there is none."""
        return self.running[-1][1] if self.running else _IDLE_PRIORITY

    def pending_interrupt(self) -> int:
        """The INTID to be signalled to the CPU now, or 1023."""
        ready = self.pending & self.enable & ~self.active
        if not ready or not self.enabled or not self.cpu_enabled:
            return SPURIOUS
        best, limit = SPURIOUS, min(self.mask, self.running_priority)
        while ready:
            number = (ready & -ready).bit_length() - 1
            if self.priority[number] < limit:
                best, limit = number, self.priority[number]
            ready &= ready - 1
        return best

    def acknowledge(self) -> int:
        """What a read of GICC_IAR does: the highest-priority pending interrupt becomes active."""
        number = self.pending_interrupt()
        if number != SPURIOUS:
            self.latched &= ~(1 << number)
            self.active |= 1 << number
            self.running.append((number, self.priority[number]))
        return number

    def end(self, number: int) -> None:
        """What a write of GICC_EOIR does: the priority drops and, without EOImode, the interrupt is deactivated."""
        for i in range(len(self.running) - 1, -1, -1):
            if self.running[i][0] == number:
                del self.running[i]
                break
        if not self.eoi_mode:
            self.deactivate(number)

    def deactivate(self, number: int) -> None:
        """What a write of GICC_DIR does."""
        if number < LINES:
            self.active &= ~(1 << number)

    def abandon(self, running: list[tuple[int, int]], active: int) -> None:
        """Go back to these active interrupts: those taken since will not be handled to their end, and are pending."""
        self.latched |= self.active & ~active & self.edge
        self.running, self.active = running, active

    def read(self, offset: int, size: int) -> int:
        """GICD registers (IHI 0048B, 4.3)."""
        if 0x400 <= offset < 0x400 + LINES:
            return self._bytes(self.priority, offset - 0x400, size)
        if 0x800 <= offset < 0x800 + LINES:
            return int.from_bytes(b"\1" * size, "little")  # one CPU: ITARGETSR reads 1 a byte
        word = offset & ~3
        value = self._read_word(word)
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
        match offset:
            case 0x000:
                return self.enabled
            case 0x004:
                return LINES // 32 - 1  # one CPU, no security extensions
            case 0x008:
                return 0x43B  # Arm
            case 0xFE8:
                return 0x2B  # architecture revision 2
            case 0xF10 | 0xF14 | 0xF18 | 0xF1C | 0xF20 | 0xF24 | 0xF28 | 0xF2C:
                first = (offset & 0xF) // 4 * 4
                return sum((self.latched >> (offset & 0xC) + i & 1) << 8 * i for i in range(4))
        return 0

    @staticmethod
    def _bits(state: int, first: int) -> int:
        return state >> first & 0xFFFF_FFFF

    @staticmethod
    def _bytes(state: list[int], first: int, size: int) -> int:
        return sum(state[first + i] << 8 * i for i in range(min(size, LINES - first)))

    def write(self, offset: int, size: int, value: int) -> None:
        """GICD registers."""
        if 0x400 <= offset < 0x400 + LINES:
            for i in range(min(size, LINES - (offset - 0x400))):
                self.priority[offset - 0x400 + i] = value >> 8 * i & 0xF8  # 32 levels
            return
        shift = (offset & 3) * 8
        value, offset = value << shift, offset & ~3
        lines = value << (offset & 0x7F) * 8 & (1 << LINES) - 1
        match offset & ~0x7F:
            case 0x080:
                register_mask = 0xFFFF_FFFF << (offset & 0x7F) * 8
                self.group = (self.group & ~register_mask | lines) & (1 << LINES) - 1
            case 0x100:
                self.enable |= lines
            case 0x180:
                self.enable &= ~lines | _ALWAYS_ENABLED
            case 0x200:
                self.latched |= lines & ~_ALWAYS_ENABLED
            case 0x280:
                self.latched &= ~lines | _ALWAYS_ENABLED
            case 0x300:
                self.active |= lines
            case 0x380:
                self.active &= ~lines
        if 0xC04 <= offset < 0xC00 + LINES // 4:  # SGIs are always edge-triggered
            first = (offset - 0xC00) * 4
            for i in range(16):
                bit = 1 << first + i
                self.edge = self.edge | bit if value >> 2 * i + 1 & 1 else self.edge & ~bit
        match offset:
            case 0x000:
                self.enabled = value & 1
            case 0xF00:  # SGIR: to this CPU if it is in the list, or if the sender asks for itself
                to_list, to_self = value >> 24 & 3 == 0 and value >> 16 & 1, value >> 24 & 3 == 2
                if to_list or to_self:
                    self.latched |= 1 << (value & 15)
            case 0xF10 | 0xF14 | 0xF18 | 0xF1C | 0xF20 | 0xF24 | 0xF28 | 0xF2C:
                bits = sum(1 << (offset & 0xC) + i for i in range(4) if value >> 8 * i & 0xFF)
                self.latched = self.latched | bits if offset >= 0xF20 else self.latched & ~bits


class GicCpuInterface:
    """The CPU interface: GICC registers (IHI 0048B, 4.4) over the distributor's state."""

    name = "gic-cpu"
    STATE = ()

    def __init__(self, gic: Gic) -> None:
        self._gic = gic

    def read(self, offset: int, size: int) -> int:
        """GICC registers."""
        gic = self._gic
        match offset:
            case 0x00:
                return gic.cpu_enabled | gic.eoi_mode << 9
            case 0x04:
                return gic.mask
            case 0x0C:
                return gic.acknowledge()
            case 0x14:
                return gic.running_priority
            case 0x18:
                return gic.pending_interrupt()
            case 0xFC:
                return 0x0202_043B
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """GICC registers."""
        gic = self._gic
        match offset:
            case 0x00:
                gic.cpu_enabled, gic.eoi_mode = value & 1, value >> 9 & 1
            case 0x04:
                gic.mask = value & 0xF8
            case 0x10:
                gic.end(value & 0x3FF)
            case 0x1000:
                gic.deactivate(value & 0x3FF)
