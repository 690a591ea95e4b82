# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text, and the instructions of a file."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine import MachineError, host_files
from armprobe.machine.loaders import elf_file
from armprobe.machine.loaders.elf import check_identification
from armprobe.machine.loaders.elf_file import ElfFile
from armprobe.machine.symbols import MAPPING_SYMBOL

from .errors import CommandError

if TYPE_CHECKING:
    import capstone

_MOST: Final = 64 << 20  # bytes of instructions


class Code(NamedTuple):
    """Consecutive `words` from `address` on, the functions among them, and the places of data among them.

    `words` are of 32 bits. `functions` are (address, name) in order. `marks` are (address, is code) in order: what is
    there from then on (ELF for the Arm 64-bit Architecture, "Mapping symbols").
    """

    section: str
    address: int
    words: memoryview
    functions: list[tuple[int, str]]
    marks: list[tuple[int, bool]]

    def instructions(self) -> Iterator[tuple[int, int]]:
        """Pairs of address and instruction. Data, and the zeros with which linkers fill gaps, are left out."""
        for index, word in enumerate(self.words):
            address = self.address + 4 * index
            mark = bisect_right(self.marks, (address, True)) - 1
            if word and (mark < 0 or self.marks[mark][1]):
                yield address, word

    def function(self, address: int) -> tuple[int, str]:
        """Start and name of the function at `address`, or of the section where no function is."""
        index = bisect_right(self.functions, (address, chr(0x10FFFF))) - 1
        return self.functions[index] if index >= 0 else (self.address, self.section)

    def describe(self, address: int) -> str:
        """`address` as function and offset, such as "kfree+0x10"."""
        start, name = self.function(address)
        return f"{name}+{address - start:#x}"


@cache
def _engine() -> capstone.Cs:
    import capstone  # here: it takes some 25 ms

    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


def disassembled(word: int, address: int = 0) -> str:
    """The disassembly of the instruction `word` at `address`."""
    decoded = _engine().disasm_lite(word.to_bytes(4, "little"), address)
    return next((f"{op} {operands}".rstrip() for _, _, op, operands in decoded), "(not an instruction)")


def read_code(path: Path) -> list[Code]:
    """The executable sections of an ELF file, or the whole of any other file as instructions. Raises CommandError."""
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        name, size = host_files.shown(path), os.fstat(file.fileno()).st_size
        if file.read(len(elf_file.MAGIC)) == elf_file.MAGIC:
            file.seek(0)
            check_identification(name, file)
            try:
                return _sections(ElfFile(file))
            except MachineError as error:
                raise CommandError(f"{name} {error}") from None
    if size > _MOST:
        raise CommandError(f"{name} has {size:,} bytes of instructions, and {_MOST:,} are the limit")
    if not size or size % 4:
        raise CommandError(f"{name} is neither an ELF file nor instructions of 4 bytes each: it has {size} bytes")
    return [Code(Path(path).name, 0, _words(host_files.read_file(path, _MOST)), [], [])]


def _words(data: bytes) -> memoryview:
    return memoryview(data[: len(data) & ~3]).cast("I")


def _sections(elf: ElfFile) -> list[Code]:
    functions: dict[int, list[tuple[int, str]]] = {}
    marks: dict[int, list[tuple[int, bool]]] = {}
    executable, left = [], min(elf.size, _MOST)
    for number, section in enumerate(elf.sections()):
        if section.type == elf_file.SHT_SYMTAB:
            if functions or marks:
                raise MachineError("is a damaged ELF: it has more than one table of symbols")
            for symbol in elf.symbols(section):
                if symbol.type == elf_file.STT_FUNC:
                    functions.setdefault(symbol.section, []).append((symbol.value, symbol.name))
                elif MAPPING_SYMBOL.match(symbol.name):
                    marks.setdefault(symbol.section, []).append((symbol.value, symbol.name[1] == "x"))
        elif section.flags & elf_file.SHF_EXECINSTR and section.type == elf_file.SHT_PROGBITS:
            executable.append((number, section))
            left -= section.size
            if left < 0:
                raise MachineError(f"has more than {min(elf.size, _MOST):,} bytes of instructions in its sections")
    if not executable:
        raise MachineError("has no section of instructions in it")
    return [
        Code(
            elf.section_name(section),
            section.address,
            _words(elf.content(section)),
            sorted(functions.get(number, [])),
            sorted(marks.get(number, [])),
        )
        for number, section in executable
    ]
