# SPDX-License-Identifier: GPL-2.0-or-later
"""The bus: RAM and devices by physical address.

The machine owns the RAM and gives Unicorn a pointer to it, so that host-side reads and writes are slices of it. A
device is any object with `read` and `write`. To add one, write a class and call `Bus.attach`.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Protocol

import unicorn

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.native.pages import address_of

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core


class Device(Protocol):
    """Something with registers. Offsets are in bytes from its base, sizes are 1, 2, 4 or 8 bytes."""

    name: str

    def read(self, offset: int, size: int) -> int:
        """The value of the register at `offset`."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the register at `offset`."""


class Backing(mmap.mmap):
    """The host's memory behind a guest's. `file` is the open file that it is a private mapping of; None for none."""

    file: int | None = None

    def __del__(self) -> None:
        if self.file is not None:
            os.close(self.file)


@lazy_dataclass
class Ram:
    """One range of memory: its name, base address, its bytes, and the address after the last."""

    name: str
    base: int
    data: memoryview
    pages: Backing
    end: int

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.data)


@lazy_dataclass
class Window:
    """Where a device is attached: base address and size in bytes."""

    base: int
    size: int
    device: Device


def new_memory(size: int) -> Backing:
    """A private mapping of `size` zero bytes, which MADV_DONTNEED makes zero again (madvise(2))."""
    return Backing(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Bus:
    """The physical address space of one machine, shared by its cores."""

    def __init__(self) -> None:
        self._cores: list[Core] = []
        self.rams: list[Ram] = []
        self.windows: list[Window] = []
        self.changes = 0  # the number of writes from outside

    def connect(self, core: Core) -> None:
        """Let `core` access all memory and devices here, including those added later."""
        self._cores.append(core)
        for ram in self.rams:
            _map_ram(core, ram)
        for window in self.windows:
            core.native.attach(window.device, window.base, window.size)

    def add_ram(self, name: str, base: int, pages: Backing) -> Ram:
        """Put the bytes of `pages` (writable, a multiple of 4 KiB) at `base` as memory."""
        data = memoryview(pages).cast("B")
        ram = Ram(name, base, data, pages, base + len(data))
        self.rams.append(ram)
        for core in self._cores:
            _map_ram(core, ram)
        return ram

    def attach(self, device: Device, base: int, size: int) -> None:
        """Put `device` at `base`, for `size` bytes (a multiple of 4 KiB)."""
        window = Window(base, size, device)
        self.windows.append(window)
        for core in self._cores:
            core.native.attach(window.device, window.base, window.size)

    def ram_at(self, address: int) -> Ram | None:
        """The memory that holds physical `address`, or None."""
        for ram in self.rams:
            if ram.base <= address < ram.end:
                return ram
        return None

    def read_u64(self, address: int) -> int:
        """A little-endian doubleword of memory. Raises ValueError outside memory."""
        ram = self.ram_at(address)
        if ram is None or address + 8 > ram.end:
            raise ValueError(f"no memory at physical address {address:#x}")
        offset = address - ram.base
        return int.from_bytes(ram.data[offset : offset + 8], "little")

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory, or of one device's registers. Raises MachineError where there is neither."""
        for ram in self.rams:
            if ram.base <= address < ram.end and address + size <= ram.end:
                return bytes(ram.data[address - ram.base : address - ram.base + size])
        window = self._window(address, size)
        width = _access_width(address, size)
        return b"".join(
            (window.device.read(at - window.base, width) & ((1 << width * 8) - 1)).to_bytes(width, "little")
            for at in range(address, address + size, width)
        )

    def write(self, address: int, data: bytes) -> None:
        """Write memory, or one device's registers. Raises MachineError where there is neither."""
        self.changes += 1
        ram = self.ram_at(address)
        if ram is not None and address + len(data) <= ram.end:
            offset = address - ram.base
            ram.data[offset : offset + len(data)] = data
            return
        window = self._window(address, len(data))
        width = _access_width(address, len(data))
        for at in range(0, len(data), width):
            value = int.from_bytes(data[at : at + width], "little")
            window.device.write(address + at - window.base, width, value)

    def master_read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory, as a bus master other than a CPU reads it. Raises MachineError outside memory."""
        ram = self._ram_for_master(address, size)
        return bytes(ram.data[address - ram.base : address - ram.base + size])

    def master_write(self, address: int, data: bytes) -> None:
        """Write memory as a bus master other than a CPU does. All writes of devices go through here.

        The engines drop the code translated from that memory. A watchpoint on it stops the machine after the write,
        because there is no instruction to stop before. A device may call this while a CPU accesses one of its
        registers. Raises MachineError outside memory.
        """
        ram = self._ram_for_master(address, len(data))
        if not data:
            return
        self.changes += 1
        for core in self._cores:
            core.watchpoints.master_writes(address, data, bytes(ram.data[address - ram.base :][: len(data)]))
        ram.data[address - ram.base :][: len(data)] = data
        for core in self._cores:
            core.forget_soon(address, len(data))

    def _ram_for_master(self, address: int, size: int) -> Ram:
        ram = self.ram_at(address)
        if ram is None or address + size > ram.end:
            raise MachineError(f"a device accesses {size} bytes at physical address {address:#x}: there is no memory")
        return ram

    def device_at(self, address: int) -> bool:
        """Whether physical `address` belongs to a device."""
        return any(0 <= address - window.base < window.size for window in self.windows)

    def _window(self, address: int, size: int) -> Window:
        for window in self.windows:
            if window.base <= address and address + size <= window.base + window.size:
                return window
        raise MachineError(f"there is neither memory nor a device at physical address {address:#x} ({size} bytes)")


def _map_ram(core: Core, ram: Ram) -> None:
    at = address_of(ram.data)
    core.engine.mem_map_ptr(ram.base, ram.size, unicorn.UC_PROT_ALL, at)
    core.native.has_ram(ram.base, at, ram.size)


def _access_width(address: int, size: int) -> int:
    """The widest access of at most 4 bytes that `address` and `size` are multiples of."""
    return next(width for width in (4, 2, 1) if not (address | size) % width)
