# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF: the type information in the file that a guest was made from, for kernels without BTF.

A kernel's file has millions of entries, so an entry is found by its name: where the name, or a reference to it, is in
.debug_info, an entry may begin just before. pyelftools parses the units that have such places. It is given whole
sections, which `ElfFile` reads, and a limited number of entries.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.loaders.elf_file import ElfFile

from .types import (
    MOST_MEMBERS,
    Array,
    Enum,
    Field,
    Float,
    Function,
    Integer,
    Layout,
    Parameter,
    Pointer,
    Qualified,
    Struct,
    Type,
    Typedef,
    Types,
    Void,
)

if TYPE_CHECKING:
    from elftools.dwarf.abbrevtable import AbbrevTable
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo
    from elftools.dwarf.lineprogram import LineProgram

_SECTIONS: Final = (
    *(".debug_info", ".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_line"),
    *(".debug_ranges", ".debug_rnglists"),
)
_SHF_COMPRESSED: Final = 0x800
_LARGEST: Final = 1 << 30  # bytes of all these sections
_MOST: Final = 100_000  # entries, declarations and units that are parsed for a name, about 5 seconds
_BYTES_A_DECLARATION: Final = 8  # of abbreviations, about
_MOST_STRINGS: Final = 64  # places of a name in .debug_str: the ends of other strings are among them
_TAGS: Final = ("DW_TAG_structure_type", "DW_TAG_union_type")
_KINDS: Final = {
    **{"struct": _TAGS, "enum": ("DW_TAG_enumeration_type",), "typedef": ("DW_TAG_typedef",)},
    **{"integer": ("DW_TAG_base_type",), "function": ("DW_TAG_subprogram",), "enumerator": ("DW_TAG_enumerator",)},
    "variable": ("DW_TAG_variable",),
}
_QUALIFIERS: Final = {
    **{"DW_TAG_const_type": "const", "DW_TAG_volatile_type": "volatile", "DW_TAG_restrict_type": "restrict"},
    "DW_TAG_atomic_type": "_Atomic",
}
_FLOATS: Final = (3, 4)  # DW_ATE_complex_float, DW_ATE_float (DWARF 5, 7.8)
_SIGNED: Final = (5, 6)  # DW_ATE_signed, DW_ATE_signed_char


class Dwarf(Types):
    """The types in the ELF at `path`. Raises MachineError if it has no debug information that can be read.

    `sections` are its sections by name, where they are not as they are in the file.
    Finds types whose name is the first attribute of their entry, as gcc writes them, by DW_FORM_strp or DW_FORM_string.
    """

    def __init__(self, path: Path, sections: dict[str, bytes] | None = None) -> None:
        self._path, self._left = path, 0
        name = host_files.shown(path)
        if sections is None:
            with host_files.open_regular(path) as file, host_files.explained("read", path):
                try:
                    sections = _debug_sections(ElfFile(file))
                except MachineError as error:
                    raise MachineError(f"{name} {error}") from None
        if not sections.keys() >= {".debug_info", ".debug_abbrev"}:
            raise MachineError(f"{name} has no debug information: build it with CONFIG_DEBUG_INFO, or -g")
        self._info, self._strings = sections[".debug_info"], sections.get(".debug_str", b"")
        self._dwarf = _parser(sections)
        self._known: set[int] = set()  # the offsets of tables of abbreviations that are parsed

    @contextlib.contextmanager
    def damage_explained(self) -> Iterator[None]:
        """Make MachineError of what pyelftools raises for damaged files: almost any exception."""
        try:
            yield
        except MachineError:
            raise
        except Exception as error:
            raise MachineError(
                f"the debug information of {host_files.shown(self._path)} is damaged ({type(error).__name__}): "
                "make the file again"
            ) from None

    def spend(self, count: int = 1) -> None:
        """Count what is parsed for a name. Raises MachineError at the limit."""
        self._left -= count
        if self._left < 0:
            raise MachineError(
                f"the debug information of {host_files.shown(self._path)} takes too long to search for one name: more "
                f"than {_MOST:,} entries"
            )

    def _find(self, name: str, kind: str) -> Type | None:
        with self.searching():
            for unit, place in self._places(name.encode()):
                entry = self._entry(unit, place, name.encode(), _KINDS[kind])
                if entry is not None and kind == "enumerator":
                    entry = entry.get_parent()
                elif entry is not None and kind == "variable":
                    outer = entry.get_parent()
                    if outer is None or outer.tag != "DW_TAG_compile_unit":  # of a function
                        continue
                    return self.read_target(entry)
                if entry is not None and not _is_in_assembly(entry):
                    return self._make(entry)
        return None

    def function_entry(self, name: str) -> DIE | None:
        """The entry of a function that has code; None for an unknown one."""
        with self.searching():
            return next((each for each in self.function_entries(name) if "DW_AT_low_pc" in each.attributes), None)

    def function_entries(self, name: str) -> Iterator[DIE]:
        """The entries of functions of that name, also of such as have no code of their own."""
        for unit, place in self._places(name.encode()):
            entry = self._entry(unit, place, name.encode(), _KINDS["function"])
            if entry is not None:
                yield entry

    def ranges(self, entry: DIE) -> tuple[tuple[int, int], ...]:
        """The addresses of an entry's code, each range with its end (DWARF 5, 2.17); none for a declaration."""
        attributes = entry.attributes
        if "DW_AT_ranges" not in attributes:
            if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
                return ()
            start, high = int(attributes["DW_AT_low_pc"].value), attributes["DW_AT_high_pc"]
            end = int(high.value) + (0 if high.form == "DW_FORM_addr" else start)
            return ((start, end),) if start < end else ()
        lists: Any = self._dwarf.range_lists()
        top = entry.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        base, found = 0 if top is None else int(top.value), []
        for each in lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, entry.cu):
            self.spend()
            if hasattr(each, "base_address"):
                base = each.base_address
                continue
            moved = 0 if each.is_absolute else base
            if each.begin_offset < each.end_offset:
                found.append((each.begin_offset + moved, each.end_offset + moved))
        return tuple(found)

    def functions(self, unit: CompileUnit) -> Iterator[DIE]:
        """The functions of a unit that have code."""
        for entry in self._children(unit.get_top_DIE(), "DW_TAG_subprogram"):
            if "DW_AT_low_pc" in entry.attributes and not _is_in_assembly(entry):
                yield entry

    def units(self) -> Iterator[CompileUnit]:
        """All units."""
        for unit in self._dwarf.iter_CUs():
            self.spend()
            yield unit

    def line_program(self, unit: CompileUnit) -> LineProgram:
        """The unit's line program. Raises MachineError if it has none."""
        program = self._dwarf.line_program_for_CU(unit) if self._dwarf.debug_line_sec is not None else None
        if program is None:
            raise MachineError(f"the debug information of {host_files.shown(self._path)} has no source lines")
        return program

    @contextlib.contextmanager
    def searching(self) -> Iterator[None]:
        """A search, which may parse so much and no more."""
        self._left = _MOST
        with self.damage_explained():
            yield

    def read_target(self, entry: DIE) -> Type:
        """The type that `entry` refers to, void without one. Raises MachineError for damaged debug information."""
        with self.searching():
            if "DW_AT_type" not in entry.attributes:
                return Void()
            return self._make(entry.get_DIE_from_attribute("DW_AT_type"))

    def _make(self, entry: DIE) -> Type:
        self.spend()
        tag, name, target = entry.tag, text_of(entry, "DW_AT_name"), partial(self.read_target, entry)
        size = number_of(entry, "DW_AT_byte_size")
        if tag in _TAGS:
            return self._struct(entry, name, size)
        if tag == "DW_TAG_base_type":
            encoding = number_of(entry, "DW_AT_encoding")
            return (Float if encoding in _FLOATS else Integer)(name, size, encoding in _SIGNED)
        if tag == "DW_TAG_pointer_type":
            return Pointer(target)
        if tag == "DW_TAG_array_type":
            return self._array(entry)
        if tag == "DW_TAG_enumeration_type":
            children = self._children(entry, "DW_TAG_enumerator")
            numbers = {
                text_of(each, "DW_AT_name"): int(each.attributes["DW_AT_const_value"].value) for each in children
            }
            return Enum(name, size, any(number < 0 for number in numbers.values()), numbers)
        if tag == "DW_TAG_typedef":
            return Typedef(name, target)
        if tag in _QUALIFIERS:
            return Qualified(_QUALIFIERS[tag], target)
        if tag in ("DW_TAG_subroutine_type", "DW_TAG_subprogram"):
            variadic = any(True for _ in self._children(entry, "DW_TAG_unspecified_parameters"))
            return Function(target, partial(self._parameters, entry), variadic)
        if tag == "DW_TAG_unspecified_type":
            return Void()
        raise ValueError(f"{tag} is no type")

    def _struct(self, entry: DIE, name: str, size: int) -> Struct:
        kind = "union" if entry.tag == "DW_TAG_union_type" else "struct"
        if _is_declaration(entry):  # the definition is in another unit
            found = self.find(name, "struct")
            return found if isinstance(found, Struct) else Struct(name, 0, None, kind)
        return Struct(name, size, DwarfLayout(self, entry), kind)

    def _array(self, entry: DIE) -> Type:
        counts: list[int | None] = []
        for each in self._children(entry, "DW_TAG_subrange_type"):
            if "DW_AT_count" in each.attributes:
                counts.append(number_of(each, "DW_AT_count"))
            elif "DW_AT_upper_bound" in each.attributes:
                counts.append(number_of(each, "DW_AT_upper_bound") + 1)
            else:
                counts.append(None)
        found = Array(partial(self.read_target, entry), counts[-1] if counts else None)
        for count in reversed(counts[:-1]):
            found = Array(lambda inner=found: inner, count)  # type: ignore[misc]
        return found

    def _parameters(self, entry: DIE) -> list[Parameter]:
        with self.searching():
            children = list(self._children(entry, "DW_TAG_formal_parameter"))
            return [Parameter(text_of(each, "DW_AT_name"), self.read_target(each)) for each in children]

    def _children(self, entry: DIE, tag: str) -> Iterator[DIE]:
        for child in entry.iter_children():
            self.spend()
            if child.tag == tag:
                yield child

    def _places(self, name: bytes) -> Iterator[tuple[CompileUnit, int]]:
        """The places in .debug_info of the name and of references to it, each with its unit."""
        places = {match.start() for match in re.finditer(re.escape(name + b"\0"), self._info)}
        for count, match in enumerate(re.finditer(re.escape(name + b"\0"), self._strings)):
            if count == _MOST_STRINGS:
                break
            reference = re.escape(match.start().to_bytes(4, "little"))
            places |= {found.start() for found in re.finditer(reference, self._info)}
        left = sorted(places, reverse=True)
        for unit in self._dwarf.iter_CUs():
            self.spend()
            while left and left[-1] < unit.cu_offset + unit.size:
                if (place := left.pop()) > unit.cu_die_offset:
                    yield unit, place
            if not left:
                return

    def _entry(self, unit: CompileUnit, place: int, name: bytes, tags: tuple[str, ...]) -> DIE | None:
        """The definition of a type whose name is at `place`; None if it is none."""
        declarations = self._declarations(unit)
        for length in (1, 2):  # bytes of the entry's code, ULEB128
            at = place - length
            code = self._info[at] if length == 1 else self._info[at] & 0x7F | self._info[at + 1] << 7
            try:
                declaration = declarations.get_abbrev(code)
            except KeyError:
                continue
            if declaration["tag"] not in tags or at < unit.cu_die_offset:
                continue
            self.spend()
            entry = unit.get_DIE_from_refaddr(at)
            own = entry.attributes.get("DW_AT_name")
            if own is not None and (own.offset, own.value) == (place, name) and not _is_declaration(entry):
                return entry
        return None

    def _declarations(self, unit: CompileUnit) -> AbbrevTable:
        """The table of abbreviations of a unit, which pyelftools parses once."""
        table, start, section = unit.get_abbrev_table(), unit["debug_abbrev_offset"], self._dwarf.debug_abbrev_sec
        if start not in self._known:
            assert section is not None
            self._known.add(start)
            self.spend((section.stream.tell() - start) // _BYTES_A_DECLARATION)
        return table


class DwarfLayout(Layout):
    """The struct or union of a debug information entry."""

    def __init__(self, types: Dwarf, entry: DIE) -> None:
        self._types, self._entry = types, entry

    @property
    def key(self) -> int:
        return int(self._entry.offset)

    def fields(self) -> Iterator[Field]:
        with self._types.damage_explained():
            for count, member in enumerate(self._entry.iter_children()):
                self._types.spend()
                if count > MOST_MEMBERS:
                    raise MachineError(f"a struct of the guest has more than {MOST_MEMBERS:,} members")
                if member.tag == "DW_TAG_member":
                    yield self._field(member)

    def _field(self, member: DIE) -> Field:
        name = text_of(member, "DW_AT_name")
        at, width = 8 * number_of(member, "DW_AT_data_member_location"), None
        if "DW_AT_bit_size" in member.attributes:
            width = number_of(member, "DW_AT_bit_size")
            if "DW_AT_data_bit_offset" in member.attributes:  # DWARF 5, 5.7.6
                at += number_of(member, "DW_AT_data_bit_offset")
            elif "DW_AT_bit_offset" in member.attributes:  # DWARF 3, 5.5.6: from the most significant bit
                at += 8 * number_of(member, "DW_AT_byte_size") - number_of(member, "DW_AT_bit_offset") - width
        nested = None
        if not name:
            inner = member.get_DIE_from_attribute("DW_AT_type")
            if inner.tag in _TAGS and "DW_AT_name" not in inner.attributes:
                nested = DwarfLayout(self._types, inner)
        return Field(name, at, width, nested, partial(self._types.read_target, member))


def _debug_sections(elf: ElfFile) -> dict[str, bytes]:
    """The sections by name that are read. Raises MachineError, without the file's name."""
    found = {name: section for section in elf.sections() if (name := elf.section_name(section)) in _SECTIONS}
    if any(section.flags & _SHF_COMPRESSED for section in found.values()):
        raise MachineError("has compressed debug information: decompress it with objcopy --decompress-debug-sections")
    if sum(section.size for section in found.values()) > _LARGEST:
        raise MachineError(f"has more than {_LARGEST:,} bytes of debug information")
    return {name: elf.content(section) for name, section in found.items()}


def _parser(sections: dict[str, bytes]) -> DWARFInfo:
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo  # takes 0.1 s

    parts: dict[str, Any] = dict.fromkeys(
        (
            *("debug_info_sec", "debug_aranges_sec", "debug_abbrev_sec", "debug_frame_sec", "eh_frame_sec"),
            *("debug_str_sec", "debug_loc_sec", "debug_ranges_sec", "debug_line_sec", "debug_pubtypes_sec"),
            *("debug_pubnames_sec", "debug_addr_sec", "debug_str_offsets_sec", "debug_line_str_sec"),
            *("debug_loclists_sec", "debug_rnglists_sec", "debug_sup_sec", "gnu_debugaltlink_sec", "debug_types_sec"),
        )
    )
    for name, data in sections.items():
        parts[f"{name[1:]}_sec"] = DebugSectionDescriptor(io.BytesIO(data), name, 0, len(data), 0)
    return DWARFInfo(config=DwarfConfig(True, "AArch64", 8), **parts)


def _is_declaration(entry: DIE) -> bool:
    return "DW_AT_declaration" in entry.attributes


def _is_in_assembly(entry: DIE) -> bool:
    """Whether it is a function of which the assembler, gas, only says that it is there: without a prototype."""
    if entry.tag != "DW_TAG_subprogram" or "DW_AT_prototyped" in entry.attributes:
        return False
    kind = entry.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in entry.attributes else None
    return kind is not None and kind.tag == "DW_TAG_unspecified_type"


def text_of(entry: DIE, attribute: str) -> str:
    """The value of an attribute as text; empty without it."""
    given = entry.attributes.get(attribute)
    return "" if given is None else given.value.decode("utf-8", "replace")


def number_of(entry: DIE, attribute: str) -> int:
    """The value of an attribute; 0 without it. Raises ValueError if it is no number."""
    value: Any = entry.attributes[attribute].value if attribute in entry.attributes else 0
    if not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise ValueError(f"{attribute} is no number")
    return value
