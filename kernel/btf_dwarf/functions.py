# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions that BTF has prototypes of, in units of DWARF's entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from armprobe.kernel.btf_kinds import FUNCTION, PROTOTYPE
from armprobe.machine.native.entries import Function

from .forms import CODE_HEADER, LIST_HEADER, lists
from .types import TypeEntries
from .unit_types import NeededTypes, UnitTypes

_IN_A_UNIT: Final = 512  # functions, which gdb reads in some milliseconds
_MOST_BYTES: Final = 64 << 20  # of types and arguments in all units; 3 MB in Debian's kernels
_ARGUMENT: Final = 35  # bytes at most, those of the list of its places too
_GAP: Final = 64  # bytes of padding between functions


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
        targets, parameters = set(), 0
        for _, prototype, _ in known:
            if types.kinds[prototype] != PROTOTYPE:
                raise ValueError("a function without a prototype")
            at, count = types.at[prototype], types.info[prototype] & 0xFFFF
            parameters += count
            targets.add(words[at + 2])
            targets.update(words[at + 4 : at + 3 + 2 * count : 2])
        own = UnitTypes(types, frozenset[int]().union(*map(needed.by, targets)), CODE_HEADER)
        self._left -= own.end + _ARGUMENT * parameters
        if self._left < 0:
            raise ValueError("functions with too many types or arguments")
        entries, places = types.entries.functions(own.places, known, self._size)
        self._size += len(places)
        self._lists.append(places)
        spans = _joined((function.address, function.address + function.size) for _, _, function in known)
        return FunctionUnit([own.entries, entries], spans)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` in order; those with no more than padding between them become one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start - result[-1][1] <= _GAP:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((start, end))
    return result
