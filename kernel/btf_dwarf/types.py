# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF's types (Linux Documentation/bpf/btf.rst) as DWARF's entries."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_kinds import (
    ARRAY,
    CONST,
    ENUM,
    ENUM64,
    FLOAT,
    FORWARD,
    INT,
    POINTER,
    PROTOTYPE,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VOLATILE,
)

from .forms import Form
from .nesting import check_nesting

MODIFIERS: Final = frozenset((TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG))
_MADE_OF_OTHERS: Final = MODIFIERS | {POINTER, ARRAY, PROTOTYPE}
_QUALIFIERS: Final = {
    VOLATILE: (Form.VOLATILE, Form.VOLATILE_VOID),
    CONST: (Form.CONST, Form.CONST_VOID),
    RESTRICT: (Form.RESTRICT, Form.RESTRICT_VOID),
}
_BOOLEAN, _FLOATING, _SIGNED, _SIGNED_CHAR, _UNSIGNED, _UNSIGNED_CHAR = 2, 4, 5, 6, 7, 8  # DW_ATE_*
_CHARS: Final = {b"char": _UNSIGNED_CHAR, b"unsigned char": _UNSIGNED_CHAR, b"signed char": _SIGNED_CHAR}
_NEGATIVE: Final = (1 << 32) - (1 << 16)  # as a word: the least of the small negative numbers
_LONGEST_CHAIN: Final = 100  # typedefs and qualifiers; a circle of them would be endless
_UNPRINTABLE: Final = re.compile(rb"[^\0 -~]")  # a terminal would obey some; the kernel's own check refuses them too
_END: Final = b"\0"  # of an entry's children

_b, _bb, _bbb = struct.Struct("<B").pack, struct.Struct("<BB").pack, struct.Struct("<BBB").pack
_bi, _bii, _biii = struct.Struct("<BI").pack, struct.Struct("<BII").pack, struct.Struct("<BIII").pack
_bbi = struct.Struct("<BBI").pack
_biiib, _bibb, _biq = struct.Struct("<BIIIB").pack, struct.Struct("<BIBB").pack, struct.Struct("<BIQ").pack


class TypeEntries:
    """The entries that the types in `btf` have in a unit.

    Raises struct.error, KeyError, IndexError, ValueError or TypeError if `btf` is damaged.
    """

    def __init__(self, btf: Btf) -> None:
        types, strings = btf.sections
        self.strings = bytes(strings)
        """The section of strings; names are offsets in it."""
        if self.strings[:1] != b"\0" or self.strings[-1:] != b"\0":
            raise ValueError("no strings")
        self.words = memoryview(bytes(types)).cast("I")
        self.at = [offset >> 2 for offset in btf.offsets]  # of each type in `words`
        self.info = [self.words[at + 1] for at in self.at[1:]]
        self.info.insert(0, 0)
        self.kinds = [info >> 24 & 31 for info in self.info]
        self._flags_signs = any(info >> 31 and info >> 24 & 31 == ENUM for info in self.info)
        self._has_partial_integers = any(
            self.words[at + 3] & 0xFF_00FF != 8 * self.words[at + 2]
            for at, kind in zip(self.at, self.kinds, strict=True)
            if kind == INT
        )
        self._check()
        self.void = {0}
        """The numbers of types that are void."""
        self.index = next((number for number, kind in enumerate(self.kinds) if kind == INT), 0)
        """That of an integer, which the index of arrays has; 0 if there is none."""
        self.tags = self._tagged()
        """The numbers of types with tags, which have no entry of their own, and of what they are without them."""
        self.sizes = list(map(self._size, range(len(self.at))))
        """The bytes of each type's entry and those in it; 0 for what has none."""

    def text(self, name: int) -> bytes:
        """The string at an offset in the section of strings."""
        return self.strings[name : self.strings.index(b"\0", name)]

    def stripped(self, number: int) -> int:
        """The type that `number` is without typedefs and qualifiers."""
        for _ in range(_LONGEST_CHAIN):
            if self.kinds[number] not in MODIFIERS:
                return number
            number = self.words[self.at[number] + 2]
        raise ValueError("a circle of types")

    def _check(self) -> None:
        """Refuse names outside of the strings, and types that are made of themselves."""
        words, most = self.words, len(self.strings)
        if _UNPRINTABLE.search(self.strings):
            raise ValueError("a name that is no text")
        for number in range(1, len(self.at)):
            at, kind, count = self.at[number], self.kinds[number], self.info[number] & 0xFFFF
            if words[at] >= most:
                raise ValueError("a name outside of the strings")
            if kind in (STRUCT, UNION, ENUM, PROTOTYPE, ENUM64) and count:
                each = 2 if kind in (ENUM, PROTOTYPE) else 3
                if max(words[at + 3 : at + 3 + each * count][::each]) >= most:
                    raise ValueError("a name outside of the strings")
        structs = [number for number, kind in enumerate(self.kinds) if kind in (STRUCT, UNION)]
        others = [number for number, kind in enumerate(self.kinds) if kind in _MADE_OF_OTHERS]
        without_name = [number for number in structs if not words[self.at[number]]]
        check_nesting(len(self.at), [*others, *without_name], self._named_by)
        check_nesting(len(self.at), structs, self._held)

    def _named_by(self, number: int) -> Sequence[int]:
        """The types that a debugger goes through to print a type's name, or the members of one without a name."""
        words, at, kind = self.words, self.at[number], self.kinds[number]
        if kind == POINTER or kind in MODIFIERS:
            return words[at + 2 : at + 3]
        if kind == ARRAY:
            return words[at + 3 : at + 4]
        count = self.info[number] & 0xFFFF
        if kind == PROTOTYPE:
            return [words[at + 2], *words[at + 4 : at + 3 + 2 * count : 2]]
        return words[at + 4 : at + 3 + 3 * count : 3]

    def _held(self, number: int) -> Sequence[int]:
        """The structs and unions that are in a struct or union."""
        words, at, kinds = self.words, self.at, self.kinds
        found = []
        start = at[number] + 4
        for inner in set(words[start : start - 1 + 3 * (self.info[number] & 0xFFFF) : 3]):
            while (kind := kinds[inner]) in MODIFIERS or kind == ARRAY:  # no circle: `_named_by` was checked before
                inner = words[at[inner] + (3 if kind == ARRAY else 2)]
            if kind in (STRUCT, UNION):
                found.append(inner)
        return found

    def _tagged(self) -> dict[int, int]:
        tags = {}
        for number, kind in enumerate(self.kinds):
            if kind == TYPE_TAG:
                target = number
                while self.kinds[target] == TYPE_TAG:
                    target = self.words[self.at[target] + 2]
                tags[number] = target
                if not target:
                    self.void.add(number)
        return tags

    def _size(self, number: int) -> int:
        words, at, kind, info = self.words, self.at[number], self.kinds[number], self.info[number]
        count = info & 0xFFFF
        if kind == POINTER:
            return 2 if words[at + 2] in self.void else 6
        if kind in (STRUCT, UNION):
            size = 10 if words[at] else 6
            for member in range(at + 3, at + 3 + 3 * count, 3):
                offset = words[member + 2]
                if offset >> 24 if info >> 31 else self._old_bit_field(words[member + 1], offset)[0]:
                    size += 14
                else:
                    size += 13 if words[member] else 9
            return size
        if kind == PROTOTYPE:
            parameters = words[at + 4 : at + 3 + 2 * count : 2].tolist()
            variadic = parameters.count(0)
            return (2 if words[at + 2] in self.void else 6) + 5 * (count - variadic) + variadic
        if kind in (INT, FLOAT):
            return 7
        if kind == ARRAY:
            return 15 if words[at + 5] else 11
        if kind in (ENUM, ENUM64):
            wide = kind == ENUM64 or self._is_signed(at, kind, info)
            return (8 if words[at] else 4) + (13 if wide else 9) * count
        if kind == FORWARD:
            return 5
        if kind == TYPEDEF:
            return 5 if words[at + 2] in self.void else 9
        if kind in _QUALIFIERS:
            return 1 if words[at + 2] in self.void else 5
        return 0  # functions, variables and tags

    def declaration(self, number: int) -> bytes:
        """The entry of a struct or union of which only the name is said."""
        is_union = self.kinds[number] == UNION or (self.kinds[number] == FORWARD and self.info[number] >> 31)
        return _bi(Form.DECLARED_UNION if is_union else Form.DECLARED_STRUCT, self.words[self.at[number]])

    def entry(self, number: int, places: Mapping[int, int]) -> bytes:
        """A type's entry and those in it, where the unit has other types at `places`; b"" for what has none."""
        words, at, kind, info = self.words, self.at[number], self.kinds[number], self.info[number]
        name, count = words[at], info & 0xFFFF
        if kind == POINTER:
            target = words[at + 2]
            return _bb(Form.POINTER_TO_VOID, 8) if target in self.void else _bbi(Form.POINTER, 8, places[target])
        if kind in (STRUCT, UNION):
            return self._struct(at, kind, info, places)
        if kind == PROTOTYPE:
            target = words[at + 2]
            void = target in self.void
            parts = [_b(Form.PROTOTYPE_OF_VOID) if void else _bi(Form.PROTOTYPE, places[target])]
            for member in range(at + 4, at + 3 + 2 * count, 2):
                parts.append(_bi(Form.PARAMETER_TYPE, places[words[member]]) if words[member] else _b(Form.VARIADIC))
            return b"".join(parts) + _END
        if kind == INT:
            return _bibb(Form.BASE, name, words[at + 2], self._encoding(name, words[at + 3] >> 24))
        if kind == FLOAT:
            return _bibb(Form.BASE, name, words[at + 2], _FLOATING)
        if kind == ARRAY:
            length, index = words[at + 5], places[self.index]
            bounds = _bii(Form.COUNTED, length, index) if length else _bi(Form.UNCOUNTED, index)
            return _bi(Form.ARRAY, places[words[at + 3]]) + bounds + _END
        if kind in (ENUM, ENUM64):
            return self._enum(at, kind, info)
        if kind == FORWARD:
            return self.declaration(number)
        target = words[at + 2] if kind == TYPEDEF or kind in _QUALIFIERS else 0
        if kind == TYPEDEF:
            return _bi(Form.TYPEDEF_OF_VOID, name) if target in self.void else _bii(Form.TYPEDEF, name, places[target])
        if kind in _QUALIFIERS:
            some, void_form = _QUALIFIERS[kind]
            return _b(void_form) if target in self.void else _bi(some, places[target])
        return b""

    def _struct(self, at: int, kind: int, info: int, places: Mapping[int, int]) -> bytes:
        words = self.words
        name, size = words[at], words[at + 2]
        if kind == STRUCT:
            form = Form.STRUCT if name else Form.ANONYMOUS_STRUCT
        else:
            form = Form.UNION if name else Form.ANONYMOUS_UNION
        parts = [_bii(form, name, size) if name else _bi(form, size)]
        add = parts.append
        for member in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            name, target, offset = words[member : member + 3]
            if info >> 31:  # the upper 8 bits are the width of a bit field, 0 for other members
                width, offset = offset >> 24, offset & 0xFF_FFFF
            else:
                width, offset = self._old_bit_field(target, offset)
            if width:
                add(_biiib(Form.BIT_FIELD, name, places[target], offset, width))
            elif name:
                add(_biii(Form.MEMBER, name, places[target], offset >> 3))
            else:
                add(_bii(Form.ANONYMOUS_MEMBER, places[target], offset >> 3))
        add(_END)
        return b"".join(parts)

    def _enum(self, at: int, kind: int, info: int) -> bytes:
        words = self.words
        name, size, count = words[at], words[at + 2], info & 0xFFFF
        signed = self._is_signed(at, kind, info)
        encoding = _SIGNED if signed else _UNSIGNED
        parts = [_bibb(Form.ENUM, name, size, encoding) if name else _bbb(Form.ANONYMOUS_ENUM, size, encoding)]
        if kind == ENUM64:
            for member in range(at + 3, at + 3 + 3 * count, 3):
                parts.append(_biq(Form.WIDE_ENUMERATOR, words[member], words[member + 1] | words[member + 2] << 32))
        else:
            for member in range(at + 3, at + 3 + 2 * count, 2):
                value = words[member + 1]
                if signed:  # gdb extends the four bytes of DW_FORM_data4 with zeros
                    value = ((value ^ 1 << 31) - (1 << 31)) & (1 << 64) - 1
                    parts.append(_biq(Form.WIDE_ENUMERATOR, words[member], value))
                else:
                    parts.append(_bii(Form.ENUMERATOR, words[member], value))
        return b"".join(parts) + _END

    def _is_signed(self, at: int, kind: int, info: int) -> bool:
        """Whether an enum has negative values.

        It has a flag for that in kernels from v6.0 on (Linux 6089fb325cf7). In a kernel whose BTF has no such flag, a
        value that is a small negative number is taken for one.
        """
        if info >> 31 or kind == ENUM64 or self._flags_signs:
            return bool(info >> 31)
        return any(value >= _NEGATIVE for value in self.words[at + 4 : at + 3 + 2 * (info & 0xFFFF) : 2])

    def _old_bit_field(self, target: int, offset: int) -> tuple[int, int]:
        """The width, or 0, and the offset of a member whose width is not in the struct, but in the integer's type."""
        if not (offset % 8 or self._has_partial_integers):
            return 0, offset
        number = self.stripped(target)
        if self.kinds[number] != INT:
            return 0, offset
        size, encoding = self.words[self.at[number] + 2], self.words[self.at[number] + 3]
        inner, width = encoding >> 16 & 0xFF, encoding & 0xFF
        return (0, offset) if width == 8 * size and not (inner or offset % 8) else (width, offset + inner)

    def _encoding(self, name: int, flags: int) -> int:
        if flags & 4:
            return _BOOLEAN
        return _CHARS.get(self.text(name)) or (_SIGNED if flags & 1 else _UNSIGNED)
