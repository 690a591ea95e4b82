# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of a module (.ko), whose debug information (DWARF) describes a module that the guest has loaded.

A .ko is relocatable (System V ABI, chapter 4; ELF for the Arm 64-bit Architecture): its debug information is read after
what the kernel does with the rest. The places of its sections are those that the guest's /sys/module/*/sections has.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.loaders.elf_file import (
    EM_AARCH64,
    ET_REL,
    SHF_ALLOC,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_SYMTAB,
    ElfFile,
    Section,
)

from .dwarf import Dwarf
from .structs import explained
from .types import Type, Types

if TYPE_CHECKING:
    from .kernel import Linux
    from .structs import Structs

_LARGEST: Final = 256 << 20  # bytes of a file
_NAME: Final = re.compile(rb"(?:^|\0)name=([^\0]{1,55})\0")  # in .modinfo (include/linux/module.h)
_SHT_RELA, _ET_EXEC = 4, 2
_ABS64, _ABS32 = 257, 258  # R_AARCH64_*
_RELA: Final = struct.Struct("<QQq")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SHARED: Final = 0xFF00  # SHN_LORESERVE: no section
_MOST_SECTIONS: Final = 1000
_LONGEST_NAME: Final = 200
_OF_START: Final = ".init"  # how the names of sections begin that are freed after the initialisation


class ModuleFile:
    """The .ko at `path`. Raises MachineError, one sentence, if it is none, or has no debug information."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        shown = host_files.shown(path)
        with host_files.open_regular(path) as file, host_files.explained("read", path):
            try:
                elf = ElfFile(file)
                if elf.type != ET_REL or elf.machine != EM_AARCH64 or elf.size > _LARGEST:
                    raise MachineError("is no module of an arm64 kernel")
                self._sections = list(elf.sections())
                self._names = [elf.section_name(section) for section in self._sections]
                name = _NAME.search(self._content_of(elf, ".modinfo"))
                if name is None:
                    raise MachineError("is no module of a kernel: it has no .modinfo with a name")
                if ".debug_info" not in self._names:
                    raise MachineError("has no debug information: build it with -g, as CONFIG_DEBUG_INFO does")
                self._table = next((each for each in self._sections if each.type == SHT_SYMTAB), None)
                self._symbols = [] if self._table is None else list(elf.symbols(self._table))
                self._data = elf.read(0, elf.size, "the file")
                self._start = elf.section_table
            except MachineError as error:
                raise MachineError(f"{shown} {error}") from None
        self.name = name[1].decode("ascii", "replace").replace("-", "_")

    def _content_of(self, elf: ElfFile, name: str) -> bytes:
        found = [section for section, each in zip(self._sections, self._names, strict=True) if each == name]
        return elf.content(found[0]) if found else b""

    @cached_property
    def types(self) -> Dwarf:
        """Its types. Raises MachineError if the debug information is damaged."""
        data = self._relocated({})
        sections = {
            name: bytes(data[section.offset : section.offset + section.size])
            for name, section in zip(self._names, self._sections, strict=True)
            if name.startswith(".debug_")
        }
        return Dwarf(self.path, sections)

    def is_loaded_at(self, places: Mapping[str, int], functions: Mapping[str, int]) -> bool:
        """Whether the loaded module is this file: its `functions` are where they are with sections at `places`."""
        here: dict[str, set[int]] = {}
        for each in self._symbols:
            if 0 < each.section < len(self._names) and self._names[each.section] in places:
                here.setdefault(each.name, set()).add(places[self._names[each.section]] + each.value)
        return bool(functions) and all(address in here.get(name, ()) for name, address in functions.items())

    def at(self, places: Mapping[str, int]) -> bytes:
        """The file as an executable whose sections are at `places`. Sections without a place are left out."""
        data = self._relocated(places)
        struct.pack_into("<H", data, 16, _ET_EXEC)
        for number, section in enumerate(self._sections):
            if not section.flags & SHF_ALLOC:
                continue
            place = places.get(self._names[number])
            # Its content is in the guest's memory.
            changed = section._replace(type=SHT_NOBITS, address=place or 0)
            if place is None:
                changed = changed._replace(flags=section.flags & ~SHF_ALLOC)
            _SECTION.pack_into(data, self._start + number * _SECTION.size, *changed)
        for at, (name, info, other, section_number, value, size) in self._rows(data):
            if 0 < section_number < len(self._sections) and self._sections[section_number].flags & SHF_ALLOC:
                place = places.get(self._names[section_number])
                where = (SHN_UNDEF, 0) if place is None else (section_number, (place + value) & (1 << 64) - 1)
                _SYMBOL.pack_into(data, at, name, info, other, *where, size)
        return bytes(data)

    def _rows(self, data: bytes | bytearray) -> Iterator[tuple[int, tuple[int, ...]]]:
        if self._table is not None:
            table = memoryview(bytes(data[self._table.offset :][: self._table.size // _SYMBOL.size * _SYMBOL.size]))
            for number, row in enumerate(_SYMBOL.iter_unpack(table)):
                yield self._table.offset + number * _SYMBOL.size, row

    def _relocated(self, places: Mapping[str, int]) -> bytearray:
        """The file with its debug information relocated. Code without a place is at 0."""
        data = bytearray(self._data)
        starts = [places.get(name, 0) for name in self._names]
        values = [
            (value + (starts[section] if 0 < section < min(len(starts), _SHARED) else 0))
            for _, (_, _, _, section, value, _) in self._rows(data)
        ]
        for section in self._sections:
            if section.type == _SHT_RELA and section.info < len(self._sections):
                target = self._sections[section.info]
                if self._names[section.info].startswith(".debug_"):
                    self._relocate(data, section, target, values)
        return data

    def _relocate(self, data: bytearray, table: Section, target: Section, values: list[int]) -> None:
        rows = bytes(data[table.offset : table.offset + table.size // _RELA.size * _RELA.size])
        for at, info, addend in _RELA.iter_unpack(rows):
            kind, number = info & 0xFFFF_FFFF, info >> 32
            size = {_ABS64: 8, _ABS32: 4}.get(kind, 0)
            if not size or number >= len(values) or at + size > target.size:
                continue
            value = (values[number] + addend) & (1 << 8 * size) - 1
            data[target.offset + at : target.offset + at + size] = value.to_bytes(size, "little")


class ModuleTypes(Types):
    """The types of a module's file, and the kernel's."""

    def __init__(self, own: Types, kernel: Types) -> None:
        self._own, self._kernel = own, kernel

    def _find(self, name: str, kind: str) -> Type | None:
        return self._own.find(name, kind) or self._kernel.find(name, kind)


class ModuleFiles:
    """The files of modules that the user has given, by the names of the modules."""

    def __init__(self, kernel: Linux) -> None:
        self._kernel = kernel
        self._files: dict[str, ModuleFile] = {}
        self._types: dict[ModuleFile, ModuleTypes] = {}

    def add(self, path: str | Path) -> str:
        """Use the .ko at `path` for the module that it is. Returns its name. Raises MachineError as `ModuleFile`."""
        file = ModuleFile(path)
        self._files[file.name] = file
        return file.name

    def loaded(self, name: str) -> tuple[ModuleFile, dict[str, int]] | None:
        """The file of the loaded module `name`, and the places of its sections.

        None without a file, and if the module was not loaded from that one.
        """
        file, kernel = self._files.get(name), self._kernel
        symbols = kernel.machine.symbols.modules.get(name)
        if file is None or symbols is None:
            return None
        places = section_places(kernel, name)
        functions = {
            symbol.name: symbol.address
            for symbol in symbols.own()
            if symbol.kind == "function" and len(symbols.named(symbol.name)) == 1
        }
        return (file, places) if file.is_loaded_at(places, functions) else None

    def types(self, name: str) -> Types | None:
        """The types of the loaded module `name` from its file; None without one."""
        found = self.loaded(name)
        if found is None:
            return None
        file, _ = found
        if file not in self._types:
            self._types[file] = ModuleTypes(file.types, self._kernel.types)
        return self._types[file]


def section_places(kernel: Linux, name: str) -> dict[str, int]:
    """The addresses of the sections of a loaded module, as /sys/module/NAME/sections has them.

    Those of its initialisation are left out when that is over. Raises MachineError where they cannot be read.
    """
    structs = kernel.structs()
    with explained(f"the sections of the module {name}"):
        module = next((each for each in kernel.module_table() if each.name == name), None)
        table = 0 if module is None else structs.number(module.address, "module", "sect_attrs")
        if module is None or not table:
            return {}
        rows = _rows_of(structs, table)
        kept = {structs.string(text, _LONGEST_NAME): place for text, place in rows}
        over = module.state != "Loading"
        return {each: place for each, place in kept.items() if not (over and each.startswith(_OF_START))}


def _rows_of(structs: Structs, table: int) -> Iterator[tuple[int, int]]:
    """The address of each section's name, and that of the section (kernel/module/sysfs.c)."""
    kind, name, place = "module_sect_attr", "battr.attr.name", "address"
    if structs.has("module_sect_attrs", "nsections"):
        count = structs.number(table, "module_sect_attrs", "nsections")
    else:  # since 6.15
        kind, name, place, count = "bin_attribute", "attr.name", "private", _MOST_SECTIONS
    if count > _MOST_SECTIONS:
        raise MachineError(f"it has {count:,} of them")
    first, size = table + structs.offset("module_sect_attrs", "attrs"), structs.size(kind)
    for at in range(first, first + count * size, size):
        text = structs.number(at, kind, name)
        if not text:
            return
        yield text, structs.number(at, kind, place)
