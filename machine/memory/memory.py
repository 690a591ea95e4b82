# SPDX-License-Identifier: GPL-2.0-or-later
"""Host access to the guest's memory: by virtual address, through the guest's page tables, and by physical address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, overload

from armprobe import wiring
from armprobe.machine.errors import MachineError
from armprobe.machine.input import InputKind

from .bus import Bus
from .mmu import PAGE, Mapping, TranslationFault, TranslationRegisters, translate
from .regions import TOP, Region, mapped_regions, region_at, without_translation

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core


class PhysicalMemory:
    """Physical address space: RAM and device registers."""

    def __init__(self, bus: Bus, core: Core) -> None:
        self._bus, self._core = bus, core

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address`. Raises MachineError where there is neither memory nor a device."""
        return self._bus.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at `address`, and drop translations made from it. Raises as `read` does."""
        self._bus.write(address, data)
        if self._bus.ram_at(address) is not None:
            self._core.forget_translations()  # the memory may be a page table
        self._core.machine.input.entered(InputKind.PHYSICAL, address, bytes(data))


class Memory:
    """The virtual address space that the guest's page tables now map.

    As on the CPU itself, reads and writes may use an old translation after the guest has changed it, until it
    invalidates the TLB.
    """

    def __init__(self, bus: Bus, core: Core) -> None:
        self._bus, self._core = bus, core
        self.physical = PhysicalMemory(bus, core)

    @property
    def translating(self) -> bool:
        """Whether the guest's MMU is on."""
        return self._core.translating

    def _registers(self) -> TranslationRegisters:
        """The registers that decide translations, but always with the kernel's own page tables.

        With page table isolation, TTBR1_EL1 has others at EL0, which do not map the kernel.
        """
        registers, kernel = self._core.translation_registers(), self._core.machine.kernel
        return registers if kernel is None else registers._replace(ttbr1=kernel.kernel_ttbr1(registers.ttbr1))

    def translate(self, address: int) -> Mapping:
        """The mapping of a virtual address. Raises MachineError where the guest maps nothing."""
        self._core.refuse_other_threads()
        try:
            return translate(self._registers(), self._bus.read_u64, address)
        except TranslationFault as fault:
            own = self._core.machine.scratch.physical(address)  # the guest's tables have no entry for it
            if own is None:
                raise MachineError(str(fault)) from None
            return Mapping(own, PAGE - address % PAGE, writable=False, user=False, executable=True)

    def region(self, address: int) -> Region:
        """The region of equal access and content that virtual `address` is in."""
        return region_at(self._bus, self._registers(), address)

    def untranslated(self) -> list[Region]:
        """The regions of the whole address space, in order, while the guest's MMU is off; empty while it is on."""
        return [] if self.translating else without_translation(self._bus)

    def mapped(self) -> tuple[list[Region], bool]:
        """The regions that the guest maps, in order, and whether the list is complete; see `mapped_regions`."""
        return mapped_regions(self._bus, self._registers())

    @overload
    def read(self, address: int, size: int) -> bytes: ...
    @overload
    def read(self, address: int, size: wiring.Type | str) -> wiring.Value: ...
    def read(self, address: int, size: int | wiring.Type | str) -> bytes | wiring.Value:
        """`size` bytes from virtual `address`, or the value of a type of the guest's, such as `struct task_struct`.

        Raises MachineError where any of the bytes is unmapped, and for an unknown type.
        """
        if not isinstance(size, int):
            return wiring.typed_memory_of(self._core.machine).read(address, size)
        if (data := self._read_piece(address, size)) is not None:
            return data
        return b"".join(self._bus.read(physical, length) for physical, length in self._pieces(address, size))

    def _read_piece(self, address: int, size: int) -> bytes | None:
        """Memory within a page that the CPU could read now: nearly all reads are of such. None for others."""
        if not 0 < size <= PAGE - address % PAGE or not 0 <= address < TOP:
            return None
        self._core.refuse_other_threads()
        physical = self._core.physical(address)
        return None if physical is None else self._bus.read(physical, size)

    def u8(self, address: int) -> int:
        """The byte at virtual `address`. Raises MachineError where it is unmapped."""
        return self.read(address, 1)[0]

    def u16(self, address: int) -> int:
        """A little-endian halfword. Raises MachineError where any of it is unmapped."""
        return int.from_bytes(self.read(address, 2), "little")

    def u32(self, address: int) -> int:
        """A little-endian word. Raises MachineError where any of it is unmapped."""
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        """A little-endian doubleword. Raises MachineError where any of it is unmapped."""
        return int.from_bytes(self.read(address, 8), "little")

    def string(self, address: int, limit: int = 4096) -> str:
        """The text up to a NUL, `limit` bytes at most, as UTF-8 with \\x escapes for what is none.

        Raises MachineError where the first byte is unmapped.
        """
        return self.read_string(address, limit).decode("utf-8", "backslashreplace")

    def read_available(self, address: int, size: int) -> bytes:
        """Like `read`, but ends at the first unmapped byte. Raises MachineError if the first byte is unmapped."""
        if (data := self._read_piece(address, size)) is not None:
            return data
        pieces = []
        try:
            for physical, length in self._pieces(address, size):
                pieces.append(self._bus.read(physical, length))
        except MachineError:
            if not pieces:
                raise
        return b"".join(pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at virtual `address`, regardless of the guest's permissions. Code there is translated again.

        Raises MachineError, and writes nothing, where any of it is unmapped.
        """
        self.put(address, data)
        if self._core.machine.input.listeners:
            self._core.machine.input.entered(InputKind.MEMORY, address, bytes(data))

    def put(self, address: int, data: bytes) -> None:
        """Like `write`, for the machine's own writes, such as a probe's breakpoint. Not announced as input."""
        done = 0
        for physical, length in self.pieces(address, len(data)):
            self._bus.write(physical, data[done : done + length])
            self._core.forget_physical(physical, length)  # the CPU may execute it through another mapping
            done += length

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to a NUL, `limit` at most. Raises MachineError where the first byte is unmapped."""
        text = b""
        while len(text) < limit:
            chunk = self.read_available(address + len(text), min(limit - len(text), 256))
            end = chunk.find(b"\0")
            if end >= 0:
                return text + chunk[:end]
            text += chunk
        return text

    def pieces(self, address: int, size: int) -> list[tuple[int, int]]:
        """The physical addresses and lengths of `size` bytes at virtual `address`. Raises as `read` does."""
        return list(self._pieces(address, size))

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        self._core.refuse_other_threads()
        if not 0 <= address < TOP or address + size > TOP:
            raise MachineError(f"{address:#x} + {size} bytes is outside the 64-bit address space")
        while size > 0:
            physical, remaining = self._core.physical(address), PAGE - address % PAGE
            if physical is None:  # unmapped, not readable at EL0, or the machine's own
                mapping = self.translate(address)
                physical, remaining = mapping.physical, mapping.remaining
            length = min(size, remaining)
            yield physical, length
            address, size = address + length, size - length
