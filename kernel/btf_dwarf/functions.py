# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions that BTF has prototypes of, as DWARF's entries, with the registers that have their arguments."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from armprobe.kernel.btf_kinds import ARRAY, ENUM, ENUM64, FUNCTION, INT, POINTER, PROTOTYPE, STRUCT, UNION
from armprobe.kernel.leb128 import uleb128
from armprobe.machine.native.arguments import ARGUMENTS

from .forms import CODE_HEADER, LIST_HEADER, Form, lists
from .types import TypeEntries
from .unit_types import NeededTypes, UnitTypes

_REGISTER, _BASE, _PIECE = 0x50, 0x70, 0x93  # DW_OP_reg0, DW_OP_breg0, DW_OP_piece
_START_LENGTH = 8  # DW_LLE_start_length
_IN_A_UNIT: Final = 512  # functions, which gdb reads in some milliseconds
_MOST_BYTES: Final = 64 << 20  # of types in all units; 0.5 MB in Debian's kernels
_GAP: Final = 64  # bytes of padding between functions
_DEEPEST: Final = 16  # structs in structs
_SMALL: Final = [uleb128(number) for number in range(1 << 12)]
_NOWHERE: Final = b""
_BY_ADDRESS, _PAIR_FROM_EVEN, _UNKNOWN = 100, 101, 102  # instead of a number of registers; 102 are more than there are

_b, _bii, _biii = struct.Struct("<B").pack, struct.Struct("<BII").pack, struct.Struct("<BIII").pack
_bq = struct.Struct("<BQ").pack
_biqi, _biqii = struct.Struct("<BIQI").pack, struct.Struct("<BIQII").pack


def _counted(*description: int) -> bytes:
    return bytes((len(description), *description, 0))


_IN: Final = [_counted(_REGISTER + register) for register in range(ARGUMENTS)]
_AT: Final = [_counted(_BASE + register, 0) for register in range(ARGUMENTS)]
_IN_PAIR: Final = [
    _counted(_REGISTER + register, _PIECE, 8, _REGISTER + register + 1, _PIECE, 8) for register in range(ARGUMENTS - 1)
]


class Function(NamedTuple):
    """A function: its address, its size in bytes, and the offsets up to which x0 to x7 have its arguments."""

    address: int
    size: int
    ends: Sequence[int]


class FunctionUnit(NamedTuple):
    """A unit with functions: its entries, to be joined, and the addresses where its code begins and ends."""

    entries: list[bytes]
    spans: list[tuple[int, int]]


class Functions:
    """The entries of those `functions`, by name, that `types` have prototypes of.

    Raises as `TypeEntries`.
    """

    def __init__(self, types: TypeEntries, functions: Mapping[str, Function]) -> None:
        self._types = types
        self._needed: dict[int, int] = {}  # registers, by type
        self._size = LIST_HEADER
        self._lists: list[bytes] = []
        self._left = _MOST_BYTES
        by_name = {name.encode("utf-8", "surrogateescape"): function for name, function in functions.items()}
        known = [
            (name, prototype, function)
            for name, prototype in self._unambiguous().items()
            if (function := by_name.get(types.text(name))) is not None and function.size
        ]
        known.sort(key=lambda each: each[2].address)
        needed = NeededTypes(types)
        self.units = [self._unit(known[n : n + _IN_A_UNIT], needed) for n in range(0, len(known), _IN_A_UNIT)]
        """Those that are next to each other are in one unit."""
        self.locations = lists(self._lists)
        """The contents of .debug_loclists."""

    def _unambiguous(self) -> dict[int, int]:
        """The prototypes of functions by the offsets of their names.

        Of several functions with one name, such as static ones of which the compiler has inlined all but one, BTF does
        not say which is in the code.
        """
        types = self._types
        found: dict[int, int] = {}
        ambiguous = set()
        for number, kind in enumerate(types.kinds):
            if kind == FUNCTION:
                name, _, prototype = types.words[types.at[number] : types.at[number] + 3]
                if found.setdefault(name, prototype) != prototype:
                    ambiguous.add(name)
        return {name: prototype for name, prototype in found.items() if name not in ambiguous}

    def _unit(self, known: Sequence[tuple[int, int, Function]], needed: NeededTypes) -> FunctionUnit:
        """The unit of functions whose names, prototypes and code are `known`."""
        types = self._types
        words = types.words
        targets = set()
        for _, prototype, _ in known:
            if types.kinds[prototype] != PROTOTYPE:
                raise ValueError("a function without a prototype")
            at, count = types.at[prototype], types.info[prototype] & 0xFFFF
            targets.add(words[at + 2])
            targets.update(words[at + 4 : at + 3 + 2 * count : 2])
        own = UnitTypes(types, frozenset[int]().union(*map(needed.by, targets)), CODE_HEADER)
        self._left -= own.end
        if self._left < 0:
            raise ValueError("functions with too many types")
        for name, prototype, function in known:
            self._add(own, name, prototype, function)
        spans = _joined((function.address, function.address + function.size) for _, _, function in known)
        return FunctionUnit(own.entries, spans)

    def _add(self, unit: UnitTypes, name: int, prototype: int, function: Function) -> None:
        types = self._types
        words, places, add = types.words, unit.places, unit.entries.append
        at, count = types.at[prototype], types.info[prototype] & 0xFFFF
        result = words[at + 2]
        address, size, ends = function
        if result in types.void:
            add(_biqi(Form.FUNCTION_OF_VOID, name, address, size))
        else:
            add(_biqii(Form.FUNCTION, name, address, size, places[result]))
        begin = _bq(_START_LENGTH, address)
        register = 0
        for parameter in range(at + 3, at + 3 + 2 * count, 2):
            called, target = words[parameter : parameter + 2]
            if not target:
                add(_b(Form.VARIADIC))
                continue
            location, register = self._location(target, register)
            if not location:
                add(_bii(Form.UNKNOWN_ARGUMENT, called, places[target]))
                continue
            add(_biii(Form.ARGUMENT, called, places[target], self._size))
            end = ends[register - 1]
            if _PIECE in location:
                end = min(end, ends[register - 2])
            there = begin + (_SMALL[end] if end < len(_SMALL) else uleb128(end)) + location
            self._lists.append(there)
            self._size += len(there)
        add(b"\0")

    def _location(self, number: int, register: int) -> tuple[bytes, int]:
        """Where an argument of this type is at the entry if `register` is the next one, and the register after it.

        The place is a location description with its length before and DW_LLE_end_of_list after it. It is empty for an
        argument that is in no register (AAPCS64, 6.8.2).
        """
        needed = self._needed.get(number)
        if needed is None:
            needed = self._needed[number] = self._registers(number)
        if needed == _BY_ADDRESS:
            return (_AT[register], register + 1) if register < ARGUMENTS else (_NOWHERE, register)
        if needed == _PAIR_FROM_EVEN:
            register += register % 2
            needed = 2
        if not needed or register + needed > ARGUMENTS:
            return _NOWHERE, register if needed == 0 else ARGUMENTS
        return (_IN if needed == 1 else _IN_PAIR)[register], register + needed

    def _registers(self, number: int) -> int:
        """How many registers an argument of this type takes, or one of the constants below."""
        types = self._types
        bare = types.stripped(number)
        kind = types.kinds[bare]
        if kind in (POINTER, ARRAY, PROTOTYPE):
            return 1
        size = types.words[types.at[bare] + 2]
        if kind in (STRUCT, UNION):
            if size > 16:
                return _BY_ADDRESS
        elif kind not in (INT, ENUM, ENUM64) or not 1 <= size <= 16:
            return _UNKNOWN
        return _PAIR_FROM_EVEN if size == 16 and self._is_aligned(bare) else -(-size // 8)  # GCC passes no empty struct

    def _is_aligned(self, number: int) -> bool:
        """Whether a type of 16 bytes is aligned to as many: an integer of 128 bits, or what has nothing else in it."""
        types = self._types
        for _ in range(_DEEPEST):
            number = types.stripped(number)
            if types.kinds[number] not in (STRUCT, UNION) or not types.info[number] & 0xFFFF:
                break
            number = types.words[types.at[number] + 4]
        return types.kinds[number] == INT and types.words[types.at[number] + 2] == 16


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` in order; those with no more than padding between them become one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start - result[-1][1] <= _GAP:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((start, end))
    return result
