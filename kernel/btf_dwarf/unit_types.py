# SPDX-License-Identifier: GPL-2.0-or-later
"""The types that a unit has entries of.

One unit has all types. The others have functions, and refer to no other unit, because gdb reads a unit and those that
it refers to as a whole as soon as it needs something of it, such as the function at the PC. A unit with functions has
entries of its own for the types of their arguments and results. Structs behind pointers are only declared there:
debuggers look for them by name, in the unit with all types, when their members are wanted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from armprobe.kernel.btf_kinds import ARRAY, POINTER, PROTOTYPE, STRUCT, UNION

from .types import MODIFIERS, TypeEntries

_DECLARATION: Final = 5  # bytes of an entry
_MOST_NEEDED: Final = 10  # times as many as there are types; a sixth of them in Debian's kernels


class UnitTypes:
    """The entries of the types `numbers` in a unit, from byte `first` of it on. ~number: only a declaration of it.

    Raises as `TypeEntries`.
    """

    def __init__(self, types: TypeEntries, numbers: Collection[int], first: int) -> None:
        described = sorted(number for number in numbers if number >= 0)
        declared = sorted({~number for number in numbers if number < 0}.difference(described))
        places = array("I", bytes(4 * len(types.at)))
        place = first
        for number in declared:
            places[number] = place
            place += _DECLARATION
        for number in described:
            places[number] = place
            place += types.sizes[number]
        self.places = places
        """The offset of each type's entry in the unit, by number; 0 for types that it does not have."""
        self.end = place
        """The offset of what follows them."""
        self.entries = types.entries.types(places, [*(~number for number in declared), *described], place - first)
        """The entries, one behind the other."""


def all_types(types: TypeEntries) -> list[int]:
    """The numbers of all types but the prototypes that only functions have."""
    words, at = types.words, types.at
    targets = {words[at[n] + 2] for n, kind in enumerate(types.kinds) if kind == POINTER or kind in MODIFIERS}
    return [n for n, kind in enumerate(types.kinds) if types.sizes[n] and (kind != PROTOTYPE or n in targets)]


class NeededTypes:
    """Which types arguments and results need entries of."""

    def __init__(self, types: TypeEntries) -> None:
        self._types = types
        structs = [number for number, kind in enumerate(types.kinds) if kind in (STRUCT, UNION)]
        named = Counter(types.words[types.at[number]] for number in structs)
        # A name that several structs have does not lead to the right one.
        self._declarable = {n for n in structs if (name := types.words[types.at[n]]) and named[name] == 1}
        self._found: dict[int, frozenset[int]] = {}
        self._left = _MOST_NEEDED * len(types.kinds)

    def by(self, number: int) -> frozenset[int]:
        """The numbers of the types that one type needs, itself among them, as `UnitTypes` takes them.

        Raises ValueError if they are too many in all.
        """
        found = self._found.get(number)
        if found is None:
            found = self._found[number] = frozenset(self._search(number))
        return found

    def _search(self, number: int) -> Iterator[int]:
        types = self._types
        words = types.words
        to_see = [(number, False)]
        seen = set(to_see)
        while to_see:
            number, is_behind_pointer = to_see.pop()
            if not types.bare[number]:
                continue
            if is_behind_pointer and number in self._declarable:
                yield ~number
                continue
            yield number
            at, kind, count = types.at[number], types.kinds[number], types.info[number] & 0xFFFF
            if kind == POINTER:
                parts = [(words[at + 2], True)]
            elif kind in MODIFIERS:
                parts = [(words[at + 2], is_behind_pointer)]
            elif kind == ARRAY:
                parts = [(words[at + 3], is_behind_pointer), (types.index, False)]
            elif kind == PROTOTYPE:
                parts = [(target, True) for target in (words[at + 2], *words[at + 4 : at + 3 + 2 * count : 2])]
            elif kind in (STRUCT, UNION):
                parts = [(target, False) for target in words[at + 4 : at + 3 + 3 * count : 3]]
            else:
                continue
            new = set(parts) - seen
            seen |= new
            to_see += new
            self._left -= len(new)
            if self._left < 0:
                raise ValueError("types that are made of too many")
