# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock kernel that never boots, whose functions are called one by one, with the arguments of our choice.

It is put where it was linked to run: relocated as its own startup code does it (arch/arm64/kernel/head.S,
__relocate_kernel) and mapped by page tables made here. `current` is a page of zeros, from which the functions take
their stack canary.
"""

from __future__ import annotations

import re
import struct
import subprocess
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe import machine
from armprobe.kernel.btf import Btf
from armprobe.kernel.types import Types
from armprobe.probes import Era

DRIVER: Final = Path(__file__).with_name("driver.S")
ENTRY: Final = 5
"""Doublewords in an entry of the driver's array: three arguments, the offset from the symbol, the result."""
RESULT: Final = 4
NO_SYMBOL: Final = (1 << 64) - 1
BATCH: Final = 100_000
"""Calls to make at once: `Machine.call` grants 2,000 instructions for each, and memory 2 KiB."""

_BLOCK: Final = 2 << 20
_STACK: Final = 16 << 10

# Elf64_Rela, 24 bytes: place, type (R_AARCH64_RELATIVE with symbol 0), addend (ELF for the Arm 64-bit Architecture)
_RELATIVES: Final = re.compile(rb"(?:.{8}\x03\x04\0{6}.{8}){64,}", re.DOTALL)

# Stage 1 descriptors and TCR_EL1 (Arm ARM, D8): 4 KiB granule, 48 bits in the upper range, nothing in the lower
_TABLE, _MEMORY = 3, 1 | 3 << 8 | 1 << 10 | 1 << 54  # a block of normal memory: SH, AF, UXN; MAIR_EL1.Attr0
_TCR: Final = 16 | 1 << 7 | 16 << 16 | 2 << 30 | 2 << 32
_SCTLR_M: Final = 1


class ColdKernel:
    """The kernel in the file `vmlinuz`, to be compared with `era`. `compiler` assembles the driver, in `folder`."""

    def __init__(self, vmlinuz: Path, era: Era, compiler: str, folder: Path) -> None:
        self.era = era
        self.machine = machine.load(vmlinuz)
        self.symbols = self.machine.symbols
        image = self.machine.guest.segments[0]
        assert image.virtual is not None
        self.link_base = image.virtual
        self._delta = image.address - image.virtual
        self._end = self.machine.ram.base + self.machine.ram.size - self._delta
        self._free = image.virtual + -(-image.size // _BLOCK) * _BLOCK
        self.machine.memory.physical.write(image.address, _relocated(image.data, image.virtual))
        self._map()
        registers = self.machine.registers
        registers["vbar_el1"] = self.symbols["vectors"].address
        registers["sp_el0"] = self.allocate(_STACK)  # current
        registers["sp"] = self.allocate(_STACK) + _STACK
        self._driver = self._assemble(compiler, folder)

    def _map(self) -> None:
        """All memory from the kernel on, by blocks of one level 2 table, from the kernel's link address on."""
        memory = self.machine.memory.physical
        tables = [self.allocate(4096) + self._delta for _ in range(3)]
        for table, inner, shift in zip(tables, tables[1:], (39, 30), strict=False):
            memory.write(table + (self.link_base >> shift & 511) * 8, struct.pack("<Q", inner | _TABLE))
        first, blocks = self.link_base >> 21 & 511, (self._end - self.link_base) // _BLOCK
        assert first + blocks <= 512
        start = self.link_base + self._delta
        descriptors = [start + i * _BLOCK | _MEMORY for i in range(blocks)]
        memory.write(tables[2] + first * 8, struct.pack(f"<{blocks}Q", *descriptors))
        registers = self.machine.registers
        registers["mair_el1"] = 0xFF
        registers["tcr_el1"] = _TCR
        registers["ttbr1_el1"] = tables[0]
        registers["sctlr_el1"] = registers["sctlr_el1"] | _SCTLR_M

    def _assemble(self, compiler: str, folder: Path) -> dict[str, int]:
        """The addresses of the driver's functions."""
        program = folder / "driver.o"
        subprocess.run([compiler, "-c", "-o", str(program), str(DRIVER)], check=True)
        with program.open("rb") as file:
            elf = ELFFile(file)
            text, table = (elf.get_section_by_name(name) for name in (".text", ".symtab"))
            assert text is not None
            assert isinstance(table, SymbolTableSection)
            code = text.data()
            symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        at = self.allocate(len(code))
        self.machine.memory.write(at, code)
        return {name: at + symbols[name] for name in ("call_each", "known_symbol", "record")}

    @cached_property
    def types(self) -> Types:
        """The layouts of the kernel's structs."""
        types = Btf.of(self.machine)
        assert types is not None
        return types

    def text(self) -> tuple[int, array[int]]:
        """The kernel's own instructions, and the address of the first."""
        start, end = self.symbols["_stext"].address, self.symbols["_etext"].address
        return start, array("I", self.machine.memory.read(start, end - start))

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of zeros, a multiple of 4096."""
        address = self._free
        self._free += -(-size // 4096) * 4096
        assert self._free <= self._end
        return address

    @contextmanager
    def room(self) -> Iterator[None]:
        """What is allocated meanwhile is given back in the end."""
        free = self._free
        try:
            yield
        finally:
            self.machine.memory.write(free, bytes(self._free - free))
            self._free = free

    def call_each(self, function: str, entries: array[int]) -> array[int]:
        """Call `function` for each of `entries`, a `BATCH` at most, and give their results."""
        address = self.symbols[function].address
        size = 8 * len(entries)
        with self.room():
            at = self.allocate(size)
            self.machine.memory.write(at, entries.tobytes())
            self.machine.call(self._driver["call_each"], address, at, at + size)
            done = array("Q", self.machine.memory.read(at, size))
        return done[RESULT::ENTRY]

    def recorded_calls(self, of: str, by: str) -> list[tuple[int, int]]:
        """The first two arguments of each call of the function `of`, which then returns 0, when `by` is called."""
        with self.room(), self._in_place_of(of, "record"):
            at = self.allocate(4096)
            self.machine.memory.write(at, struct.pack("<Q", 8))
            self.machine.registers["tpidr_el0"] = at
            self.machine.call(by)
            size = self.machine.memory.u64(at)
            return list(struct.iter_unpack("<QQ", self.machine.memory.read(at + 8, size - 8)))

    @contextmanager
    def symbols_from_entries(self) -> Iterator[None]:
        """Meanwhile kallsyms_lookup_size_offset answers what the entries say."""
        with self._in_place_of("kallsyms_lookup_size_offset", "known_symbol"):
            yield

    @contextmanager
    def _in_place_of(self, function: str, driver: str) -> Iterator[None]:
        """Meanwhile the driver's function `driver` stands in for the kernel's `function`."""
        at = self.symbols[function].address
        distance = self._driver[driver] - at
        memory = self.machine.memory
        original = memory.read(at, 4)
        memory.write(at, struct.pack("<I", 0x1400_0000 | distance >> 2 & 0x3FF_FFFF))  # B
        try:
            yield
        finally:
            memory.write(at, original)


Column = Sequence[int] | int


def entries(x0: Sequence[int], x1: Column, x2: Column = 0, offset: Column = NO_SYMBOL) -> array[int]:
    """An array for the driver: each argument is a column of as many values as `x0` has, or one value for all."""
    table = array("Q", bytes(8 * ENTRY * len(x0)))
    for number, column in enumerate((x0, x1, x2, offset)):
        table[number::ENTRY] = array("Q", [column]) * len(x0) if isinstance(column, int) else array("Q", column)
    return table


def _relocated(image: bytes, link_base: int) -> bytes:
    """The Image with its relocations applied for the address it is linked at.

    One whose relocations are packed (CONFIG_RELR, Debian's since 6.12) has them in place already.
    """
    runs = [match[0] for match in _RELATIVES.finditer(image)]
    result = bytearray(image)
    if not runs:
        return image
    for place, _, addend in struct.iter_unpack("<QQQ", max(runs, key=len)):
        struct.pack_into("<Q", result, place - link_base, addend)
    return bytes(result)
