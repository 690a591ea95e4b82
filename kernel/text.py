# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's code: reading it, also before the guest has mapped it, and telling it from everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from armprobe.machine import Machine, MachineError, Symbol
from armprobe.machine.core.instruction_words import NOP

PAGE: Final = 4096

# core_kernel_text(): the kernel proper, and what is thrown away after boot.
_AREAS: Final = (("_stext", "_etext"), ("_sinittext", "_einittext"))
_PATCHED_ENTRY: Final = 0xAA1E_03E9  # mov x9, x30: what ftrace writes at the first of its two NOPs
_BTI: Final = 0xD503_241F
_BTI_TARGETS: Final = 3 << 6
_PAGE: Final = 4096
_PADDING: Final = 65536  # bytes before the end of the text that are looked at: SEGMENT_ALIGN
_SMALL: Final = 256  # bytes of a read for which looking up each of its words is worth while


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
        """Whether the guest's own page tables lead to `address`, and will go on doing so.

        While Linux boots it replaces its first tables, with whatever the machine has added to them, by
        swapper_pg_dir. That lies between the kernel's text and its initialisation code, init_pg_dir behind all of it
        (vmlinux.lds.S).
        """
        try:
            self._machine.memory.read_u32(address)
            image = self.area("_stext", "_sinittext")
            if image is None or self._kernel is None or not self._kernel.replaces_page_tables:
                return True
            root = self._machine.core.translation_registers().ttbr1 & 0x0000_FFFF_FFFF_F000
            return 0 <= root - self._machine.memory.translate(image[0]).physical < image[1] - image[0]
        except MachineError:
            return False

    def lost(self, addresses: Iterable[int]) -> set[int]:
        """Those of `addresses`, whose text has been mapped before, that the guest maps no longer.

        None are, as far as can be said, while the kernel itself is not mapped: with page table isolation that is
        so in user space.
        """
        if not self._kernel_mapped(default=True):
            return set()
        pages: dict[int, list[int]] = {}
        for address in addresses:
            pages.setdefault(address // PAGE, []).append(address)
        return {address for page, there in pages.items() if not self.mapped(page * PAGE) for address in there}

    def _kernel_mapped(self, default: bool) -> bool:
        """Whether the guest maps its kernel now; `default` for a guest that does not say where that is."""
        start = self._symbols.get("_stext")
        return default if start is None else self.mapped(start.address)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at virtual `address`: from memory, or from the guest's file while the kernel is not mapped yet.

        Raises MachineError where neither has it.
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
        """The instruction at `address`, whatever breakpoint of ours is on it. Raises MachineError as `read` does."""
        breakpoint = self._breakpoints.get(address)
        return breakpoint.word if breakpoint is not None else int.from_bytes(self.read(address, 4), "little")

    def unpatched(self, address: int, data: bytes) -> bytes:
        """`data`, read from `address`, with the words that our breakpoints stand on."""
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
        """The addresses between two linker symbols, None if the guest has not got them."""
        first, last = self._symbols.get(start), self._symbols.get(end)
        return None if first is None or last is None else (first.address, last.address)

    def contains(self, address: int) -> bool:
        """Whether `address` is in the kernel's text; in a guest that does not say where that is, in any function."""
        areas = [found for names in _AREAS if (found := self.area(*names)) is not None]
        if areas:
            return any(start <= address < end for start, end in areas) or self._is_module_text(address)
        covering = self._symbols.at(address)
        return covering is not None and covering[0].kind == "function"

    def base(self, address: int) -> int:
        """Where the kernel's image or the module that `address` is in begins; `address` itself if it is in neither."""
        module = self._symbols.module_at(address)
        if module is not None:
            return next(iter(self._symbols.modules[module])).address
        for segment in self._machine.guest.segments:
            if segment.virtual is not None and segment.virtual <= address < segment.virtual + segment.size:
                return segment.virtual
        return address

    def padding(self) -> list[tuple[int, int]]:
        """Where executable memory is left between the end of the kernel's text and what follows it, all zeros."""
        area = self.area(*_AREAS[0])
        if area is None:
            return []
        # Linux aligns _etext itself, so the padding is before it; others leave the rest of the page behind it.
        end = -(-area[1] // _PAGE) * _PAGE
        first = max(area[0], end - _PADDING) & ~7
        used = len(self.unpatched(first, self.read(first, end - first)).rstrip(b"\0"))
        start = first + -(-used // 8) * 8
        return [(start, end)] if start < end and self.mapped(start) else []

    def _is_module_text(self, address: int) -> bool:
        """A module's text is the part of it that the guest may execute (CONFIG_STRICT_MODULE_RWX)."""
        if self._symbols.module_at(address) is None:
            return False
        try:
            return self._machine.memory.translate(address).executable
        except MachineError:
            return False

    def is_ftrace_site(self, symbol: Symbol, address: int) -> bool:
        """Whether ftrace patches the instruction at `address`: the second word of a function, or third after a BTI.

        The table that lists these places is gone once Linux has booted; but the word before each is then `mov x9,
        x30`, which no compiler has a use for there. Before that the two words are NOPs, which a few other functions
        begin with too.
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
