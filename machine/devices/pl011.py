# SPDX-License-Identifier: GPL-2.0-or-later
"""The serial line, an Arm PL011 UART (Arm DDI 0183): Python's view of what native/pl011.c does."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import ClassVar, Final

from armprobe.machine.field_checks import U8, U64, integer, several
from armprobe.machine.native.binding import function, structure
from armprobe.machine.state import Order, StateRegistry

from .gic import Gic
from .native_device import NativeDevice

_MOST_TYPED: Final = 1 << 20  # bytes that the guest has not read yet, in a file

_U64, _AT = ctypes.c_uint64, ctypes.c_void_p
_UPDATE: Final = function("armprobe_pl011_update", None, _AT)
_COLLECT: Final = function("armprobe_pl011_collect", _U64, _AT, _AT)
_DRAIN: Final = ctypes.CFUNCTYPE(None)


@structure("pl011")
class Pl011(NativeDevice, code="pl011"):
    """One UART, whose interrupt is line `intid` of `gic`.

    `transmitted` is called when many bytes have been sent, and at each byte while `watched`: it is to `collect` them.
    What it raises is raised by `write`. `raw` is RIS without the receive interrupts, which follow the queue of received
    bytes.
    """

    name = "pl011"
    STATE: ClassVar = {
        **dict.fromkeys(("ibrd", "fbrd", "lcr_h", "cr", "ifls", "imsc", "dmacr", "raw"), integer(U64)),
        "received": several(integer(U8), _MOST_TYPED),
    }

    ibrd: int
    fbrd: int
    lcr_h: int
    cr: int
    ifls: int
    imsc: int
    dmacr: int
    raw: int
    gic: int
    intid: int
    waiting: int
    waiting_end: int
    watched: bool
    drain: int
    output: ctypes.Array[ctypes.c_uint8]

    def __init__(self, state: StateRegistry, gic: Gic, intid: int, transmitted: Callable[[], None]) -> None:
        super().__init__()
        self.transmitted = transmitted
        self._failure: BaseException | None = None
        self._collected = ctypes.create_string_buffer(len(self.output))
        # The structure has the addresses of these, which must live as long.
        self._gic, self._called, self._queue = gic, _DRAIN(self._drain), ctypes.create_string_buffer(1)
        self.gic, self.intid = gic.at, intid
        self.drain = ctypes.cast(self._called, ctypes.c_void_p).value or 0
        self.cr, self.ifls = 0x300, 0x12  # reset values, DDI 0183 3.2
        state.join(self.name, self, Order.DEVICES)

    @property
    def received(self) -> list[int]:
        """The received bytes that wait for the guest."""
        return list(ctypes.string_at(self.waiting, self.waiting_end - self.waiting))

    @received.setter
    def received(self, data: list[int]) -> None:
        self._set_queue(bytes(data))

    def _set_queue(self, data: bytes) -> None:
        self._queue = ctypes.create_string_buffer(data, len(data) + 1)
        self.waiting = ctypes.addressof(self._queue)
        self.waiting_end = self.waiting + len(data)

    def receive(self, data: bytes) -> None:
        """Queue bytes that arrive on the line until the guest reads them. The queue has no limit."""
        self._set_queue(bytes(self.received) + data)
        _UPDATE(self.at)

    def take(self, count: int) -> bytes:
        """Take up to `count` of the waiting bytes, as if the guest had read them."""
        taken = ctypes.string_at(self.waiting, min(count, self.waiting_end - self.waiting))
        self.waiting += len(taken)
        _UPDATE(self.at)
        return taken

    def collect(self) -> bytes:
        """Take the bytes that the guest has sent. On any thread, but on one at a time."""
        count = _COLLECT(self.at, self._collected)
        return ctypes.string_at(self._collected, count)

    def _drain(self) -> None:
        try:
            self.transmitted()
        except BaseException as error:  # the caller is C
            self._failure = error

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a UART register. Raises what `transmitted` raises, when the access has been made."""
        super().write(offset, size, value)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
