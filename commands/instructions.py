# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text, and the instructions of a file."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import capstone
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from armprobe.machine import host_files

from .errors import CommandError

_MOST: Final = 256 << 20  # bytes of a file
_SHF_EXECINSTR: Final = 4
_ELF_MAGIC: Final = b"\x7fELF"


class Code(NamedTuple):
    """`words` that lie one after another from `address` on, the functions they begin, and where data is among them.

    `functions` are (address, name) in order. `marks` are (address, is code) in order: what is there from then on (ELF
    for the Arm 64-bit Architecture, "Mapping symbols").
    """

    section: str
    address: int
    words: tuple[int, ...]
    functions: list[tuple[int, str]]
    marks: list[tuple[int, bool]]

    def instructions(self) -> Iterator[tuple[int, int]]:
        """The address of each instruction, and it. Data and the zeros that linkers fill gaps with are left out."""
        for index, word in enumerate(self.words):
            address = self.address + 4 * index
            mark = bisect_right(self.marks, (address, True)) - 1
            if word and (mark < 0 or self.marks[mark][1]):
                yield address, word

    def function(self, address: int) -> tuple[int, str]:
        """Where the function that `address` is in begins, and its name; without one, the section's."""
        index = bisect_right(self.functions, (address, chr(0x10FFFF))) - 1
        return self.functions[index] if index >= 0 else (self.address, self.section)

    def describe(self, address: int) -> str:
        """`address` by its function, such as "kfree+0x10"."""
        start, name = self.function(address)
        return f"{name}+{address - start:#x}"


@cache
def _engine() -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


def disassembled(word: int, address: int = 0) -> str:
    """The instruction `word` as it reads at `address`."""
    decoded = _engine().disasm_lite(word.to_bytes(4, "little"), address)
    return next((f"{op} {operands}".rstrip() for _, _, op, operands in decoded), "(not an instruction)")


def read_code(path: Path) -> list[Code]:
    """The executable sections of an ELF file, or else the whole file as instructions. Raises CommandError."""
    try:
        with host_files.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST:
                raise CommandError(f"{path} is larger than {_MOST >> 20} MiB")
            if file.read(4) == _ELF_MAGIC:
                return list(_sections(path, ELFFile(file)))
            file.seek(0)
            data = file.read()
    except (ELFError, struct.error, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is a damaged ELF file: {error}") from None
    if not data or len(data) % 4:
        raise CommandError(f"{path} is neither an ELF file nor instructions of 4 bytes each: it has {len(data)} bytes")
    return [Code(path.name, 0, _words(data), [], [])]


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) & ~3])


def _sections(path: Path, elf: ELFFile) -> Iterator[Code]:
    if elf["e_machine"] != "EM_AARCH64":
        raise CommandError(f"{path} is for {elf['e_machine']}: give it code for AArch64")
    functions: dict[int, list[tuple[int, str]]] = {}
    marks: dict[int, list[tuple[int, bool]]] = {}
    for table in elf.iter_sections():
        if isinstance(table, SymbolTableSection):
            for symbol in table.iter_symbols():
                number, value, name = symbol["st_shndx"], symbol["st_value"], symbol.name
                if symbol["st_info"]["type"] == "STT_FUNC":
                    functions.setdefault(number, []).append((value, name))
                elif name in ("$x", "$d") or name.startswith(("$x.", "$d.")):
                    marks.setdefault(number, []).append((value, name[1] == "x"))
    found = False
    for number, section in enumerate(elf.iter_sections()):
        if section["sh_flags"] & _SHF_EXECINSTR and section["sh_type"] == "SHT_PROGBITS":
            found = True
            yield _code(section, sorted(functions.get(number, [])), sorted(marks.get(number, [])))
    if not found:
        raise CommandError(f"{path} has no section of instructions in it")


def _code(section: Section, functions: list[tuple[int, str]], marks: list[tuple[int, bool]]) -> Code:
    return Code(section.name, section["sh_addr"], _words(section.data()), functions, marks)
