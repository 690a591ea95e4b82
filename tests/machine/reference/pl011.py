# SPDX-License-Identifier: GPL-2.0-or-later
"""The PL011 UART in Python from which native/pl011.c was written, kept to compare with (Arm DDI 0183)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from armprobe.machine.field_checks import U8, U64, integer, several
from armprobe.machine.state import Order, StateRegistry

_ID: Final = bytes.fromhex("11 10 14 00 0d f0 05 b1")  # PeriphID0..3, PCellID0..3, at 0xfe0
_RX, _TX, _RX_TIMEOUT = 1 << 4, 1 << 5, 1 << 6
_FR_RX_EMPTY, _FR_TX_EMPTY = 1 << 4, 1 << 7
_REGISTERS: Final = {0x24: "ibrd", 0x28: "fbrd", 0x2C: "lcr_h", 0x30: "cr", 0x34: "ifls", 0x38: "imsc", 0x48: "dmacr"}

_MOST_TYPED: Final = 1 << 20  # bytes that the guest has not read yet, in a file


class Pl011:
    """One UART. It calls `interrupt` with the state of its interrupt line and `transmitted` with each byte sent."""

    name = "pl011"
    STATE: ClassVar = {
        **dict.fromkeys(("ibrd", "fbrd", "lcr_h", "cr", "ifls", "imsc", "dmacr", "raw"), integer(U64)),
        "received": several(integer(U8), _MOST_TYPED),
    }

    def __init__(
        self, state: StateRegistry, interrupt: Callable[[bool], None], transmitted: Callable[[int], None]
    ) -> None:
        self._interrupt, self._transmitted = interrupt, transmitted
        self.ibrd = self.fbrd = self.lcr_h = self.imsc = self.dmacr = 0
        self.cr, self.ifls = 0x300, 0x12  # reset values, DDI 0183 3.2
        self.raw = 0  # RIS without the receive interrupts, which follow `received`
        self.received: list[int] = []
        state.join(self.name, self, Order.DEVICES)

    def receive(self, data: bytes) -> None:
        """Queue bytes that arrive on the line until the guest reads them. The queue has no limit."""
        self.received += data
        self._update()

    def take(self, count: int) -> bytes:
        """Take up to `count` of the waiting bytes, as if the guest had read them."""
        taken = bytes(self.received[:count])
        del self.received[:count]
        self._update()
        return taken

    def read(self, offset: int, size: int) -> int:
        """UART registers."""
        if offset in _REGISTERS:
            return int(getattr(self, _REGISTERS[offset]))
        match offset:
            case 0x00:
                value = self.received.pop(0) if self.received else 0
                self._update()
                return value
            case 0x18:
                return _FR_TX_EMPTY | (0 if self.received else _FR_RX_EMPTY)
            case 0x3C:
                return self._status()
            case 0x40:
                return self._status() & self.imsc
        if 0xFE0 <= offset < 0x1000 and not offset % 4:
            return _ID[(offset - 0xFE0) // 4]
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """UART registers."""
        if offset in _REGISTERS:
            setattr(self, _REGISTERS[offset], value & 0xFFFF)
        elif offset == 0x00:
            self._transmitted(value & 0xFF)
            self.raw |= _TX  # the FIFO never fills, so it passes its level at once
        elif offset == 0x44:
            self.raw &= ~value
        self._update()

    def _status(self) -> int:
        return self.raw | (_RX | _RX_TIMEOUT if self.received else 0)

    def _update(self) -> None:
        self._interrupt(bool(self._status() & self.imsc))
