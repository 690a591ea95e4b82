# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio device's registers and queues (Virtual I/O Device 1.2, sections 2.7, 3.1 and 4.2).

The guest is not trusted. What a driver must not do is answered as 2.1.2 says: the device asks for a reset and does
nothing until then. `state["error"]` has the reason in a sentence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from armprobe.machine.board import Value
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .device import Device

MAGIC: Final = int.from_bytes(b"virt", "little")
QUEUE_MAX: Final = 128
"""Descriptors that a queue may have."""
_VERSION: Final = 2  # of the registers: not those of legacy devices
_VENDOR: Final = int.from_bytes(b"aprb", "little")
_VERSION_1: Final = 1 << 32  # VIRTIO_F_VERSION_1
_MASK32: Final = (1 << 32) - 1

_FEATURES_OK, _DRIVER_OK, _NEEDS_RESET = 8, 4, 64  # bits of Status (2.1)
_NEXT, _WRITE, _INDIRECT = 1, 2, 4  # flags of a descriptor (2.7.5)
_NO_INTERRUPT: Final = 1  # VIRTQ_AVAIL_F_NO_INTERRUPT
_USED, _CONFIG = 1, 2  # bits of InterruptStatus

_LOW_HIGH: Final = {0x80: ("desc", 0), 0x84: ("desc", 32), 0x90: ("avail", 0), 0x94: ("avail", 32)} | {
    0xA0: ("used", 0),
    0xA4: ("used", 32),
}
_RESET: Final = {
    **dict.fromkeys(("features_sel", "driver_sel", "features", "queue_sel", "status", "interrupts"), 0),
    **dict.fromkeys(("num", "ready", "desc", "avail", "used", "next_avail", "next_used"), 0),
    "error": "",
}


class BrokenQueue(MachineError):
    """The driver has put something into the queue that it must not."""


@lazy_dataclass
class Buffer:
    """One buffer of a request: guest-physical address and size in bytes."""

    address: int
    size: int


class VirtioDevice(Device):
    """A device of `device_id` (section 5) with `features` and one queue, behind a virtio-mmio transport."""

    timed = False

    def __init__(self, name: str, device_id: int, features: int, properties: Mapping[str, Value] | None = None) -> None:
        super().__init__(
            name,
            compatible="virtio,mmio",
            interrupt=True,
            properties={"dma-coherent": None, **(properties or {})},
            state=dict(_RESET),
        )
        self._id, self._features = device_id, features | _VERSION_1

    def config(self) -> bytes:
        """The device's configuration space."""
        raise NotImplementedError

    def serve(self, readable: list[Buffer], writable: list[Buffer]) -> int:
        """Do one request. Returns the number of bytes written. Raises BrokenQueue for what is no request."""
        raise NotImplementedError

    def read(self, offset: int, size: int) -> int:
        """4.2.2."""
        state = self.state
        if offset >= 0x100:
            return int.from_bytes(self.config()[offset - 0x100 :][:size], "little")
        match offset:
            case 0x00:
                return MAGIC
            case 0x04:
                return _VERSION
            case 0x08:
                return self._id
            case 0x0C:
                return _VENDOR
            case 0x10:
                return self._features >> 32 * state["features_sel"] & _MASK32 if state["features_sel"] in (0, 1) else 0
            case 0x34:
                return QUEUE_MAX if state["queue_sel"] == 0 else 0
            case 0x44:
                return int(state["ready"]) if state["queue_sel"] == 0 else 0
            case 0x60:
                return int(state["interrupts"])
            case 0x70:
                return int(state["status"])
        return 0  # registers that are only written, ConfigGeneration, and shared memory, of which there is none

    def write(self, offset: int, size: int, value: int) -> None:
        """4.2.2."""
        state, value = self.state, value & _MASK32
        match offset:
            case 0x14:
                state["features_sel"] = value
            case 0x20 if state["driver_sel"] in (0, 1):
                shift = 32 * state["driver_sel"]
                state["features"] = state["features"] & ~(_MASK32 << shift) | value << shift
            case 0x24:
                state["driver_sel"] = value
            case 0x30:
                state["queue_sel"] = value
            case 0x38 if state["queue_sel"] == 0 and not state["ready"]:
                state["num"] = value
            case 0x44 if state["queue_sel"] == 0:
                self._set_ready(value & 1)
            case 0x50 if value == 0:
                self._notified()
            case 0x64:
                state["interrupts"] &= ~value
                self.set_interrupt(bool(state["interrupts"]))
            case 0x70:
                self._set_status(value)
            case _ if offset in _LOW_HIGH and state["queue_sel"] == 0 and not state["ready"]:
                name, shift = _LOW_HIGH[offset]
                state[name] = state[name] & ~(_MASK32 << shift) | value << shift

    def _set_ready(self, ready: int) -> None:
        state = self.state
        if ready and (not 0 < state["num"] <= QUEUE_MAX or state["num"] & state["num"] - 1):
            self._fail(f"the queue has {state['num']} descriptors, which is no power of 2 up to {QUEUE_MAX}")
        else:
            state["ready"] = ready
            state["next_avail"] = state["next_used"] = 0

    def _set_status(self, status: int) -> None:
        state = self.state
        if not status:
            state.update(_RESET)
            self.set_interrupt(False)
            return
        acceptable = not state["features"] & ~self._features and state["features"] & _VERSION_1
        if status & _FEATURES_OK and not acceptable:
            status &= ~_FEATURES_OK  # 3.1.1: the driver reads it back
        state["status"] = status & 0xFF | state["status"] & _NEEDS_RESET

    def _notified(self) -> None:
        """Do what the queue has (2.7.7)."""
        state = self.state
        if not state["ready"] or not state["status"] & _DRIVER_OK or state["status"] & _NEEDS_RESET:
            return
        done = False
        try:
            if not 0 < state["num"] <= QUEUE_MAX:  # a snapshot file may say so
                raise BrokenQueue(f"the queue has {state['num']} descriptors")
            flags, index = struct.unpack("<HH", self._dma(state["avail"], 4))
            if index - state["next_avail"] & 0xFFFF > state["num"]:
                raise BrokenQueue("more requests are available than the queue has descriptors")
            while state["next_avail"] != index:
                place = state["avail"] + 4 + 2 * (state["next_avail"] % state["num"])
                (head,) = struct.unpack("<H", self._dma(place, 2))
                written = self.serve(*self._chain(head))
                state["next_avail"] = state["next_avail"] + 1 & 0xFFFF
                used = state["used"] + 4 + 8 * (state["next_used"] % state["num"])
                self._put(used, struct.pack("<II", head, written))
                state["next_used"] = state["next_used"] + 1 & 0xFFFF
                self._put(state["used"] + 2, struct.pack("<H", state["next_used"]))
                done = True
        except BrokenQueue as error:
            self._fail(str(error))
            return
        if done and not flags & _NO_INTERRUPT:
            self._raise(_USED)

    def _chain(self, head: int) -> tuple[list[Buffer], list[Buffer]]:
        """The readable and the writable buffers of a request, which are in this order (2.7.4.2)."""
        readable: list[Buffer] = []
        writable: list[Buffer] = []
        for buffer, flags in self._descriptors(head):
            if flags & _WRITE:
                writable.append(buffer)
            elif writable:
                raise BrokenQueue("a request has a readable buffer behind a writable one")
            else:
                readable.append(buffer)
        return readable, writable

    def _descriptors(self, number: int) -> Iterator[tuple[Buffer, int]]:
        count = self.state["num"]
        for _ in range(count):
            if number >= count:
                raise BrokenQueue(f"there is no descriptor {number}")
            address, size, flags, following = struct.unpack("<QIHH", self._dma(self.state["desc"] + 16 * number, 16))
            if flags & _INDIRECT:
                raise BrokenQueue("a descriptor is indirect, which was not negotiated")
            yield Buffer(address, size), flags
            if not flags & _NEXT:
                return
            number = following
        raise BrokenQueue("a chain of descriptors goes in a circle")

    def _dma(self, address: int, size: int) -> bytes:
        try:
            return self.dma_read(address, size)
        except MachineError:
            raise BrokenQueue(f"there is no memory for {size} bytes at {address:#x}") from None

    def _put(self, address: int, data: bytes) -> None:
        try:
            self.dma_write(address, data)
        except MachineError:
            raise BrokenQueue(f"there is no memory for {len(data)} bytes at {address:#x}") from None

    def gather(self, buffers: list[Buffer]) -> bytes:
        """The content of `buffers`."""
        return b"".join(self._dma(buffer.address, buffer.size) for buffer in buffers)

    def scatter(self, buffers: list[Buffer], data: bytes) -> None:
        """Write `data`, which has their size, to `buffers`."""
        at = 0
        for buffer in buffers:
            self._put(buffer.address, data[at : at + buffer.size])
            at += buffer.size

    def _fail(self, why: str) -> None:
        """2.1.2: the device is in an error state, of which it notifies the driver."""
        self.state["error"] = f"the driver of {self.name} has made an error, so the device waits for a reset: {why}"
        self.state["status"] |= _NEEDS_RESET
        if self.state["status"] & _DRIVER_OK:
            self._raise(_CONFIG)

    def _raise(self, what: int) -> None:
        self.state["interrupts"] |= what
        self.set_interrupt(True)
