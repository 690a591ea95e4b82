# SPDX-License-Identifier: GPL-2.0-or-later
"""The forms of the debugging information entries: their abbreviations, and the unit that has them (DWARF 5, 7.5).

All forms have a fixed size, so an entry's size, and with it the place of each entry, follows from its abbreviation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from armprobe.kernel.leb128 import uleb128

_NAME, _SIZE, _LOW, _HIGH, _LANGUAGE, _CONSTANT, _PRODUCER = 0x03, 0x0B, 0x11, 0x12, 0x13, 0x1C, 0x25
_PROTOTYPED, _COUNT, _DECLARATION, _ENCODING, _EXTERNAL, _TYPE = 0x27, 0x37, 0x3C, 0x3E, 0x3F, 0x49
_BITS, _MEMBER, _LOCATION, _RANGES, _BIT_OFFSET, _LOCLISTS_BASE = 0x0D, 0x38, 0x02, 0x55, 0x6B, 0x8C
_ADDR, _DATA4, _DATA8, _DATA1, _STRP, _REF4, _SEC_OFFSET, _EXPRLOC, _PRESENT = (
    0x01,
    0x06,
    0x07,
    0x0B,
    0x0E,
    0x13,
    0x17,
    0x18,
    0x19,
)
_CHILDREN: Final = 1


class Form:
    """The numbers of the abbreviations, without a gap, as drgn wants them. machine/native/btf.h has them, too."""

    UNIT = 1
    BASE = 2
    POINTER = 3
    POINTER_TO_VOID = 4
    STRUCT = 5
    UNION = 6
    MEMBER = 7
    BIT_FIELD = 8
    ARRAY = 9
    COUNTED = 10
    UNCOUNTED = 11
    ENUM = 12
    ENUMERATOR = 13
    WIDE_ENUMERATOR = 14
    DECLARED_STRUCT = 15
    DECLARED_UNION = 16
    TYPEDEF = 17
    TYPEDEF_OF_VOID = 18
    VOLATILE = 19
    CONST = 20
    RESTRICT = 21
    VOLATILE_VOID = 22
    CONST_VOID = 23
    RESTRICT_VOID = 24
    PROTOTYPE = 25
    PROTOTYPE_OF_VOID = 26
    PARAMETER_TYPE = 27
    VARIADIC = 28
    FUNCTION = 29
    FUNCTION_OF_VOID = 30
    ARGUMENT = 31
    UNKNOWN_ARGUMENT = 32
    ANONYMOUS_STRUCT = 33
    ANONYMOUS_UNION = 34
    ANONYMOUS_MEMBER = 35
    ANONYMOUS_ENUM = 36
    VARIABLE = 37
    CODE_UNIT = 38


_T, _N = (_TYPE, _REF4), (_NAME, _STRP)
_FUNCTION = _N, (_PROTOTYPED, _PRESENT), (_LOW, _ADDR), (_HIGH, _DATA4), (_EXTERNAL, _PRESENT)
_UNIT = (_PRODUCER, _STRP), (_LANGUAGE, _DATA1), _N
_ENTRIES: Final[dict[int, tuple[int, int, tuple[tuple[int, int], ...]]]] = {
    Form.UNIT: (0x11, _CHILDREN, _UNIT),
    Form.BASE: (0x24, 0, (_N, (_SIZE, _DATA1), (_ENCODING, _DATA1))),
    Form.POINTER: (0x0F, 0, ((_SIZE, _DATA1), _T)),
    Form.POINTER_TO_VOID: (0x0F, 0, ((_SIZE, _DATA1),)),
    Form.STRUCT: (0x13, _CHILDREN, (_N, (_SIZE, _DATA4))),
    Form.UNION: (0x17, _CHILDREN, (_N, (_SIZE, _DATA4))),
    Form.MEMBER: (0x0D, 0, (_N, _T, (_MEMBER, _DATA4))),
    Form.BIT_FIELD: (0x0D, 0, (_N, _T, (_BIT_OFFSET, _DATA4), (_BITS, _DATA1))),
    Form.ARRAY: (0x01, _CHILDREN, (_T,)),
    Form.COUNTED: (0x21, 0, ((_COUNT, _DATA4), _T)),
    Form.UNCOUNTED: (0x21, 0, (_T,)),
    Form.ENUM: (0x04, _CHILDREN, (_N, (_SIZE, _DATA1), (_ENCODING, _DATA1))),
    Form.ENUMERATOR: (0x28, 0, (_N, (_CONSTANT, _DATA4))),
    Form.WIDE_ENUMERATOR: (0x28, 0, (_N, (_CONSTANT, _DATA8))),
    Form.DECLARED_STRUCT: (0x13, 0, (_N, (_DECLARATION, _PRESENT))),
    Form.DECLARED_UNION: (0x17, 0, (_N, (_DECLARATION, _PRESENT))),
    Form.TYPEDEF: (0x16, 0, (_N, _T)),
    Form.TYPEDEF_OF_VOID: (0x16, 0, (_N,)),
    Form.VOLATILE: (0x35, 0, (_T,)),
    Form.CONST: (0x26, 0, (_T,)),
    Form.RESTRICT: (0x37, 0, (_T,)),
    Form.VOLATILE_VOID: (0x35, 0, ()),
    Form.CONST_VOID: (0x26, 0, ()),
    Form.RESTRICT_VOID: (0x37, 0, ()),
    Form.PROTOTYPE: (0x15, _CHILDREN, ((_PROTOTYPED, _PRESENT), _T)),
    Form.PROTOTYPE_OF_VOID: (0x15, _CHILDREN, ((_PROTOTYPED, _PRESENT),)),
    Form.PARAMETER_TYPE: (0x05, 0, (_T,)),
    Form.VARIADIC: (0x18, 0, ()),
    Form.FUNCTION: (0x2E, _CHILDREN, (*_FUNCTION, _T)),
    Form.FUNCTION_OF_VOID: (0x2E, _CHILDREN, _FUNCTION),
    Form.ARGUMENT: (0x05, 0, (_N, _T, (_LOCATION, _SEC_OFFSET))),
    Form.UNKNOWN_ARGUMENT: (0x05, 0, (_N, _T)),
    Form.ANONYMOUS_STRUCT: (0x13, _CHILDREN, ((_SIZE, _DATA4),)),
    Form.ANONYMOUS_UNION: (0x17, _CHILDREN, ((_SIZE, _DATA4),)),
    Form.ANONYMOUS_MEMBER: (0x0D, 0, (_T, (_MEMBER, _DATA4))),
    Form.ANONYMOUS_ENUM: (0x04, _CHILDREN, ((_SIZE, _DATA1), (_ENCODING, _DATA1))),
    Form.VARIABLE: (0x34, 0, (_N, _T, (_EXTERNAL, _PRESENT), (_LOCATION, _EXPRLOC))),
    Form.CODE_UNIT: (0x11, _CHILDREN, (
        *_UNIT, (_LOW, _ADDR), (_RANGES, _SEC_OFFSET), (_LOCLISTS_BASE, _SEC_OFFSET),
    )),
}  # fmt: skip


def _abbreviation(form: int) -> bytes:
    tag, children, attributes = _ENTRIES[form]
    numbers = [number for attribute in attributes for number in attribute]
    return uleb128(form) + uleb128(tag) + bytes([children]) + b"".join(map(uleb128, numbers)) + b"\0\0"


ABBREVIATIONS: Final = b"".join(map(_abbreviation, _ENTRIES)) + b"\0"
"""The contents of .debug_abbrev."""

_HEADER, _UNIT_ENTRY, _CODE = struct.Struct("<IHBBI"), struct.Struct("<BIBI"), struct.Struct("<QII")
TYPES_HEADER: Final = _HEADER.size + _UNIT_ENTRY.size
"""Bytes of a unit without code before the first entry in it."""
CODE_HEADER: Final = TYPES_HEADER + _CODE.size
"""Those of a unit with code."""
LIST_HEADER: Final = 12
"""Bytes of .debug_loclists and .debug_rnglists before the first list (DWARF 5, 7.28 and 7.29)."""
_C11: Final = 0x1D
# With location lists of a GCC of 4.5 or later, gdb stops at a function's first instruction, where all arguments are in
# their registers, and needs no line table for that (gdb/dwarf2/read.c, locations_valid).
_GCC: Final = b"GNU C11 12.2.0\0"
UNIT_STRINGS: Final = _GCC + b"vmlinux\0"
"""The strings of units, which end the contents of .debug_str."""
_START_END: Final = struct.Struct("<BQQ")
_RLE_START_END: Final = 6  # DW_RLE_start_end


class Units:
    """The contents of .debug_info and .debug_rnglists. `strings` is the size of .debug_str before `UNIT_STRINGS`."""

    def __init__(self, strings: int) -> None:
        self._strings = strings
        self._info: list[bytes] = []
        self._ranges: list[bytes] = []
        self._ranges_at = LIST_HEADER

    def add(self, entries: Iterable[bytes], code: Iterable[tuple[int, int]] | None = None) -> None:
        """Add a unit with `entries`, and the places where its code begins and ends."""
        body = b"".join(entries)
        form = Form.UNIT if code is None else Form.CODE_UNIT
        begin = _UNIT_ENTRY.pack(form, self._strings, _C11, self._strings + len(_GCC))
        if code is not None:
            begin += _CODE.pack(0, self._ranges_at, LIST_HEADER)
            ranges = b"".join(_START_END.pack(_RLE_START_END, *span) for span in code) + b"\0"
            self._ranges.append(ranges)
            self._ranges_at += len(ranges)
        size = _HEADER.size + len(begin) + len(body) + 1
        self._info += _HEADER.pack(size - 4, 5, 1, 8, 0), begin, body, b"\0"

    @property
    def info(self) -> bytes:
        """The contents of .debug_info."""
        return b"".join(self._info)

    @property
    def ranges(self) -> bytes:
        """The contents of .debug_rnglists."""
        return lists(self._ranges)


def lists(entries: list[bytes]) -> bytes:
    """The contents of .debug_loclists or .debug_rnglists: lists that are found by their offsets."""
    body = b"".join(entries)
    return struct.pack("<IHBBI", 8 + len(body), 5, 8, 0, 0) + body
