# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF's types (Linux Documentation/bpf/btf.rst), checked, and what makes DWARF's entries of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_kinds import (
    ARRAY,
    CONST,
    ENUM,
    ENUM64,
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
from armprobe.machine.native.entries import BtfEntries

from .nesting import check_nesting

MODIFIERS: Final = frozenset((TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG))
_MADE_OF_OTHERS: Final = MODIFIERS | {POINTER, ARRAY, PROTOTYPE}
_UNPRINTABLE: Final = re.compile(rb"[^\0 -~]")  # a terminal would obey some; the kernel's own check refuses them too


class TypeEntries:
    """The entries that the types in `btf` have in a unit.

    Raises struct.error, KeyError, IndexError, ValueError or TypeError if `btf` is damaged.
    """

    def __init__(self, btf: Btf) -> None:
        types, strings = btf.sections
        self.strings = bytes(strings)
        """The section of strings; names are offsets in it."""
        if not btf.is_whole:
            raise ValueError("a type that is cut short")
        if self.strings[:1] != b"\0" or self.strings[-1:] != b"\0":
            raise ValueError("no strings")
        self.words = memoryview(bytes(types)).cast("I")
        self.at = [offset >> 2 for offset in btf.offsets]  # of each type in `words`
        self.info = [self.words[at + 1] for at in self.at[1:]]
        self.info.insert(0, 0)
        self.kinds = [info >> 24 & 31 for info in self.info]
        self._check()
        self.index = next((number for number, kind in enumerate(self.kinds) if kind == INT), 0)
        """That of an integer, which the index of arrays has; 0 if there is none."""
        self.bare = self._without_tags()
        """The number of each type without tags, which have no entry of their own; 0 for void."""
        self.entries = BtfEntries(
            *(bytes(types), self.at, self.bare, self.strings),
            index=self.index,
            flags_signs=any(info >> 31 and info >> 24 & 31 == ENUM for info in self.info),
            partial_integers=any(
                self.words[at + 3] & 0xFF_00FF != 8 * self.words[at + 2]
                for at, kind in zip(self.at, self.kinds, strict=True)
                if kind == INT
            ),
        )
        """What makes the entries."""
        self.sizes = self.entries.sizes()
        """The bytes of each type's entry and those in it; 0 for what has none."""

    def text(self, name: int) -> bytes:
        """The string at an offset in the section of strings."""
        return self.strings[name : self.strings.index(b"\0", name)]

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

    def _without_tags(self) -> list[int]:
        bare = list(range(len(self.at)))
        for number, kind in enumerate(self.kinds):
            if kind == TYPE_TAG:
                target = number
                while self.kinds[target] == TYPE_TAG:
                    target = self.words[self.at[target] + 2]
                bare[number] = target
        return bare
