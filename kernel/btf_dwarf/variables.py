# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables of a kernel as DWARF's entries."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_kinds import INT
from armprobe.kernel.type_names import spelled_integer
from armprobe.kernel.types import Array, Integer, Pointer, Type, Void

from .forms import Form
from .types import TypeEntries
from .unit_types import UnitTypes

_AT: Final = b"\x09\x03"  # the length of a location's description, and DW_OP_addr
_END: Final = b"\0"  # of an entry's children

_bb, _bi, _bii, _bbi = (struct.Struct(form).pack for form in ("<BB", "<BI", "<BII", "<BBI"))
_bii2sq: Final = struct.Struct("<BII2sQ").pack


class Variable(NamedTuple):
    """A variable at a virtual address, with a type that was read from the same BTF."""

    name: str
    address: int
    type: Type


class Variables:
    """The entries of `variables`, behind those of all types in a unit.

    A type that BTF does not have, such as a pointer to one that it has, gets an entry too. Raises as `TypeEntries`.
    """

    def __init__(self, types: TypeEntries, described: UnitTypes, btf: Btf, variables: Iterable[Variable]) -> None:
        self._types, self._btf = types, btf
        self._places, self._place = described.places, described.end
        self.entries: list[bytes] = []
        """The entries, to be joined."""
        self.strings = types.strings
        """The section of strings, with the names."""
        for name, address, kind in variables:
            place = self._type(kind)
            if place is not None:
                at = len(self.strings)
                self.strings += name.encode("utf-8", "surrogateescape") + b"\0"
                self._add(_bii2sq(Form.VARIABLE, at, place, _AT, address))

    def _add(self, entry: bytes) -> int:
        """Add an entry; its place."""
        place = self._place
        self.entries.append(entry)
        self._place += len(entry)
        return place

    def _type(self, kind: Type) -> int | None:
        """The place of a type's entry; None for one without."""
        number = self._number(kind)
        if number is not None:
            place = self._places[self._types.bare[number]]
            if not place:
                raise ValueError("a variable of a type without an entry")
            return place
        if isinstance(kind, Pointer):
            if isinstance(kind.target.resolve(), Void):
                return self._add(_bb(Form.POINTER_TO_VOID, 8))
            target = self._type(kind.target)
            return None if target is None else self._add(_bbi(Form.POINTER, 8, target))
        if isinstance(kind, Array):
            element = self._type(kind.target)
            if element is None:
                return None
            index = self._places[self._types.index]
            bounds = _bi(Form.UNCOUNTED, index) if kind.count is None else _bii(Form.COUNTED, kind.count, index)
            return self._add(_bi(Form.ARRAY, element) + bounds + _END)
        return None

    def _number(self, kind: Type) -> int | None:
        """The number of a type in BTF; of an integer, that of the first one of its name."""
        number, types = self._btf.number_of(kind), self._types
        if number is None and isinstance(kind, Integer):
            integers = (each for each, found in enumerate(types.kinds) if found == INT)
            named = (
                each for each in integers if spelled_integer(self._btf.string(types.words[types.at[each]])) == kind.name
            )
            number = next(named, None)
        return number
