# SPDX-License-Identifier: GPL-2.0-or-later
"""A reader for the parts of an ELF file that armprobe uses (System V ABI, chapters 4 and 5; elf(5)).

Its work is bounded by the size of the file. That of pyelftools' reader of ELF files is not: it reads each byte of a
table with one-byte entries as a symbol, copies a long name for each symbol that shares it, and takes 30 microseconds
per symbol.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from armprobe.machine.errors import MachineError

MAGIC: Final = b"\x7fELF"
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_AARCH64: Final = 183
PT_LOAD, PT_INTERP = 1, 3
SHT_PROGBITS, SHT_SYMTAB, SHT_NOTE, SHT_NOBITS = 1, 2, 7, 8
SHF_ALLOC, SHF_EXECINSTR = 2, 4
SHN_UNDEF, SHN_ABS = 0, 0xFFF1
STT_FUNC, STT_OBJECT, STT_SECTION, STT_FILE = 2, 1, 3, 4
STB_GLOBAL, STB_WEAK = 1, 2

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_PN_XNUM: Final = 0xFFFF
_LONGEST_NAME: Final = 64 << 10  # bytes
_LONG_NAME: Final = 64  # bytes: a longer one is kept for the other symbols that share it


class Program(NamedTuple):
    """A program header: addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


class Section(NamedTuple):
    """A section header. `name` is an offset, for `ElfFile.section_name`."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class Symbol(NamedTuple):
    """An entry of a symbol table."""

    name: str
    type: int
    binding: int
    section: int
    value: int
    size: int


class ElfFile:
    """A 64-bit little-endian ELF file. `file` must stay open for reading while this is used."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the header. Raises MachineError when it is incomplete."""
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        header = _HEADER.unpack(self.read(0, _HEADER.size, "its header"))
        _, self.type, self.machine, _, self.entry, self._phoff, self._shoff, _, _, *counts = header
        self._phentsize, self._phnum, self._shentsize, self._shnum, self._shstrndx = counts
        self._names: bytes | None = None

    def read(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes from `offset`. Raises MachineError, about `what`, when the file is too short."""
        if offset + size > self.size:
            raise MachineError(f"is cut short: {what} ends at byte {offset + size}, and the file has {self.size}")
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise MachineError(f"is cut short: {what} ends at byte {offset + size}, and there is less now")
        return data

    def programs(self) -> list[Program]:
        """The program headers. Raises MachineError when they are incomplete."""
        if not self._phnum:
            return []
        if self._phentsize != _PROGRAM.size or self._phnum == _PN_XNUM:
            raise MachineError("is a damaged ELF: its program headers have another size than they can have")
        table = self.read(self._phoff, self._phnum * _PROGRAM.size, "the table of program headers")
        return [Program(*fields) for fields in _PROGRAM.iter_unpack(table)]

    @property
    def section_table(self) -> int:
        """The offset of the section headers."""
        return int(self._shoff)

    def sections(self) -> Iterator[Section]:
        """The section headers, in order. Raises MachineError when they are incomplete."""
        if not self._shoff:
            return iter(())
        if self._shentsize != _SECTION.size:
            raise MachineError("is a damaged ELF: its section headers have another size than they can have")
        count = self._shnum or self._section(0).size  # section 0 has a count too large for the header
        table = self.read(self._shoff, count * _SECTION.size, "the table of section headers")
        return map(Section._make, _SECTION.iter_unpack(table))

    def _section(self, number: int) -> Section:
        at = self._shoff + number * _SECTION.size
        return Section(*_SECTION.unpack(self.read(at, _SECTION.size, f"header {number} of its sections")))

    def section_name(self, section: Section, most: int = 100) -> str:
        """The name of a section, of which up to `most` bytes are read; "" if it has none."""
        if self._names is None:
            self._names = self.content(self._section(self._shstrndx)) if self._shstrndx else b""
        return self._names[section.name : section.name + most].partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def content(self, section: Section) -> bytes:
        """The bytes of a section. Raises MachineError when they are not in the file."""
        if section.type == SHT_NOBITS:
            return b""
        return self.read(section.offset, section.size, "a section")

    def symbols(self, table: Section) -> Iterator[Symbol]:
        """The named entries of the symbol table `table`. Raises MachineError for a damaged one.

        Names may share bytes, as linkers let a name share the end of another. But all names together must have at most
        twice the bytes of the string table.
        """
        if table.entry_size != _SYMBOL.size:
            raise MachineError(f"is a damaged ELF: a symbol takes {_SYMBOL.size} bytes, not {table.entry_size}")
        strings = self.content(self._section(table.link))
        # A dictionary of all names by their offsets would take a third of the memory that a file may cost.
        counted, long_names = bytearray(len(strings)), dict[int, str]()
        left = 2 * len(strings)
        rows = self.read(table.offset, table.size // _SYMBOL.size * _SYMBOL.size, "the table of symbols")
        for name_at, info, _, section, value, size in _SYMBOL.iter_unpack(rows):
            if not name_at:
                continue
            name = long_names.get(name_at)
            if name is None:
                end = strings.find(b"\0", name_at, name_at + _LONGEST_NAME)
                if end >= 0 and not counted[name_at]:
                    counted[name_at] = 1
                    left -= end - name_at
                if end < 0 or left < 0:
                    raise MachineError("is a damaged ELF: names of its symbols overlap, are too long or have no end")
                name = strings[name_at:end].decode("utf-8", "surrogateescape")
                if end - name_at > _LONG_NAME:
                    long_names[name_at] = name
            if name:
                yield Symbol(name, info & 15, info >> 4, section, value, size)
