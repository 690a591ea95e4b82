# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's code: where it is, what is in it without our breakpoints, also before the guest has mapped it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from armprobe.machine import Machine, MachineError, Symbol
from armprobe.machine.core.instruction_words import NOP

PAGE: Final = 4096

# core_kernel_text(): the kernel proper, and the initialisation code that is freed after boot.
_AREAS: Final = (("_stext", "_etext"), ("_sinittext", "_einittext"))
_PATCHED_ENTRY: Final = 0xAA1E_03E9  # mov x9, x30: what ftrace writes at the first of its two NOPs
_BTI: Final = 0xD503_241F
_BTI_TARGETS: Final = 3 << 6
_PADDING: Final = 65536  # bytes before the end of the text that are searched: SEGMENT_ALIGN
_SMALL: Final = 256  # bytes: up to this size, looking up each word of a read takes less than all breakpoints


class Breakpoint(Protocol):
    """A breakpoint of ours in the guest's text: the instruction that it replaces, and whether it is in place."""

    @property
    def word(self) -> int: ...

    @property
    def armed(self) -> bool: ...


class Text:
    """The code of one machine's guest, without the breakpoints in it that are listed by address in `breakpoints`."""

    def __init__(self, machine: Machine, breakpoints: Mapping[int, Breakpoint]) -> None:
        self._machine = machine
        self._breakpoints = breakpoints
        self._symbols = machine.symbols
        self._kernel = machine.kernel

    def mapped(self, address: int) -> bool:
        """Whether the guest's own page tables map `address`, and are tables that it keeps.

        While Linux boots it replaces its first tables, and with them what the machine has added there, by
        swapper_pg_dir. This table lies between the kernel's text and its initialisation code; init_pg_dir, the first
        one, lies behind both (vmlinux.lds.S).
        """
        try:
            self._machine.memory.u32(address)
            image = self.area("_stext", "_sinittext")
            if image is None or self._kernel is None or not self._kernel.replaces_page_tables:
                return True
            root = self._machine.core.translation_registers().ttbr1 & 0x0000_FFFF_FFFF_F000
            return 0 <= root - self._machine.memory.translate(image[0]).physical < image[1] - image[0]
        except MachineError:
            return False

    def lost(self, addresses: Iterable[int]) -> set[int]:
        """Those of `addresses` that the guest no longer maps. All of them were mapped before.

        The set is empty while the kernel itself is not mapped, since nothing can be said then: with page table
        isolation that is so in user space.
        """
        if not self._kernel_mapped(default=True):
            return set()
        pages: dict[int, list[int]] = {}
        for address in addresses:
            pages.setdefault(address // PAGE, []).append(address)
        return {address for page, there in pages.items() if not self.mapped(page * PAGE) for address in there}

    def _kernel_mapped(self, default: bool) -> bool:
        """Whether the guest maps its kernel now; `default` for a guest without a symbol for the kernel's start."""
        start = self._symbols.get("_stext")
        return default if start is None else self.mapped(start.address)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at virtual `address`: from memory, or from the guest's file while the kernel is not mapped yet.

        Raises MachineError if neither has them.
        """
        try:
            return self._machine.memory.read(address, size)
        except MachineError:
            if self._kernel_mapped(default=False):
                raise
            for segment in self._machine.guest.segments:
                start = segment.virtual
                if start is not None and start <= address and address + size <= start + len(segment.data):
                    return bytes(segment.data[address - start : address - start + size])
            raise

    def read_u32(self, address: int) -> int:
        """The instruction at `address`, also under a breakpoint of ours. Raises MachineError as `read` does."""
        breakpoint = self._breakpoints.get(address)
        return breakpoint.word if breakpoint is not None else int.from_bytes(self.read(address, 4), "little")

    def unpatched(self, address: int, data: bytes) -> bytes:
        """`data`, read from `address`, with the instructions that our breakpoints replace."""
        if not self._breakpoints:
            return data
        if len(data) <= _SMALL and self._breakpoints.keys().isdisjoint(range(address & ~3, address + len(data), 4)):
            return data  # in a time that does not grow with the number of breakpoints
        result = bytearray(data)
        for at, breakpoint in self._breakpoints.items():
            if breakpoint.armed and address - 4 < at < address + len(data):
                word = breakpoint.word.to_bytes(4, "little")
                first, last = max(at, address), min(at + 4, address + len(data))
                result[first - address : last - address] = word[first - at : last - at]
        return bytes(result)

    def area(self, start: str, end: str) -> tuple[int, int] | None:
        """The addresses of two linker symbols, the start and the end of an area; None if the guest lacks one."""
        first, last = self._symbols.get(start), self._symbols.get(end)
        return None if first is None or last is None else (first.address, last.address)

    def contains(self, address: int) -> bool:
        """Whether `address` is in the kernel's text; without symbols for its ends, whether it is in any function."""
        areas = [found for names in _AREAS if (found := self.area(*names)) is not None]
        if areas:
            return any(start <= address < end for start, end in areas) or self._is_module_text(address)
        covering = self._symbols.at(address)
        return covering is not None and covering[0].kind == "function"

    def base(self, address: int) -> int:
        """The start of the kernel's image or of the module that has `address`; `address` itself if none has."""
        module = self._symbols.module_at(address)
        if module is not None:
            return next(iter(self._symbols.modules[module])).address
        for segment in self._machine.guest.segments:
            if segment.virtual is not None and segment.virtual <= address < segment.virtual + segment.size:
                return segment.virtual
        return address

    def padding(self) -> list[tuple[int, int]]:
        """The areas of zeros, in executable memory, between the end of the kernel's text and what follows it."""
        area = self.area(*_AREAS[0])
        if area is None:
            return []
        # Linux aligns _etext itself, so the padding is before it; in other kernels the rest of the page follows it.
        end = -(-area[1] // PAGE) * PAGE
        first = max(area[0], end - _PADDING) & ~7
        used = len(self.unpatched(first, self.read(first, end - first)).rstrip(b"\0"))
        start = first + -(-used // 8) * 8
        return [(start, end)] if start < end and self.mapped(start) else []

    def _is_module_text(self, address: int) -> bool:
        """Whether `address` is in the part of a module that the guest may execute (CONFIG_STRICT_MODULE_RWX)."""
        if self._symbols.module_at(address) is None:
            return False
        try:
            return self._machine.memory.translate(address).executable
        except MachineError:
            return False

    def is_ftrace_site(self, symbol: Symbol, address: int) -> bool:
        """Whether ftrace patches the instruction at `address`: the second word of a function, or third after a BTI.

        Linux frees the table of these places at the end of its boot. From then on the word before each of them is
        `mov x9, x30`, which no compiler emits there. Before, both words are NOPs, with which a few other functions
        begin too.
        """
        if self._kernel is None or not self._kernel.has_ftrace or not 4 <= address - symbol.address <= 8:
            return False
        try:
            first, before, word = map(self.read_u32, (symbol.address, address - 4, address))
        except MachineError:
            return False
        if address - symbol.address != (8 if first & ~_BTI_TARGETS == _BTI else 4):
            return False
        if before == _PATCHED_ENTRY:
            return word == NOP or word >> 26 == 0b100101  # BL
        return before == word == NOP and not self.mapped(address)

    def is_traced(self, symbol: Symbol) -> bool:
        """Whether ftrace knows the function `symbol`, or the guest has no ftrace."""
        if self._kernel is None or not self._kernel.has_ftrace:
            return True
        return any(self.is_ftrace_site(symbol, symbol.address + at) for at in (4, 8))
