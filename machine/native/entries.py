# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF's entries of BTF's types and functions (type_entries.c, function_entries.c)."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from .binding import function, structure

_MOST_BYTES: Final = 22, 13, 22
"""Of a function's entry, of an argument's in it, and of the list of where that is."""

_SIZES: Final = function("armprobe_type_sizes", None, *[ctypes.c_void_p] * 3)
_TYPES: Final = function(
    "armprobe_type_entries",
    ctypes.c_bool,
    *(*[ctypes.c_void_p] * 3, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64),
)
_FUNCTIONS: Final = function(
    "armprobe_function_entries",
    ctypes.c_bool,
    *(*[ctypes.c_void_p] * 5, ctypes.c_uint64, ctypes.c_uint64, *[ctypes.c_void_p] * 4),
)


@structure("btf")
class _Btf(ctypes.Structure):
    words: int
    at: int
    bare: int
    strings: int
    count: int
    index: int
    flags_signs: bool
    partial_integers: bool


class Function(NamedTuple):
    """A function: its address, its size in bytes, and the offsets up to which x0 to x7 have its arguments."""

    address: int
    size: int
    ends: Sequence[int]


class BtfEntries:
    """What makes entries of the types in `words`, which begin at the words `at`, by number.

    `bare` is each type's number without tags, 0 for void; the others are as `struct btf` has them. The caller has
    checked what that says.
    """

    def __init__(
        self,
        words: bytes,
        at: Sequence[int],
        bare: Sequence[int],
        strings: bytes,
        *,
        index: int,
        flags_signs: bool,
        partial_integers: bool,
    ) -> None:
        self._words, self._at = array("I", words), array("I", at)
        self._kept = [*map(_buffer, (self._words, self._at, array("I", bare))), ctypes.create_string_buffer(strings)]
        self._btf = _Btf(*map(ctypes.addressof, self._kept), len(at), index, flags_signs, partial_integers)

    def sizes(self) -> array[int]:
        """The bytes of each type's entry and those in it; 0 for what has none."""
        none, sizes = (array("I", bytes(4 * self._btf.count)) for _ in range(2))
        _SIZES(ctypes.byref(self._btf), _buffer(none), _buffer(sizes))
        return sizes

    def types(self, places: array[int], numbers: Sequence[int], size: int) -> bytes:
        """The entries of types, `size` bytes, in a unit that has them at `places`, by number; 0 for those not there.

        ~number: only a declaration. Raises ValueError if they refer to a type that is not there.
        """
        made = ctypes.create_string_buffer(size)
        if not _TYPES(ctypes.byref(self._btf), _buffer(places), _buffer(array("q", numbers)), len(numbers), made, size):
            raise ValueError("types that cannot be described")
        return made.raw

    def functions(
        self, places: array[int], known: Sequence[tuple[int, int, Function]], lists_at: int
    ) -> tuple[bytes, bytes]:
        """The entries of functions, and the lists of where their arguments are, the first at `lists_at` of its section.

        `known` are the offset of each one's name, the number of its prototype, and the function. Raises ValueError as
        `types`.
        """
        parameters = sum(self._words[self._at[prototype] + 1] & 0xFFFF for _, prototype, _ in known)
        of_function, of_argument, of_list = _MOST_BYTES
        room = of_function * len(known) + of_argument * parameters, of_list * parameters
        entries, lists = map(ctypes.create_string_buffer, room)
        sizes = array("Q", (0, 0))
        if not _FUNCTIONS(
            *(ctypes.byref(self._btf), _buffer(places)),
            _buffer(array("I", [field for name, prototype, each in known for field in (name, prototype, each.size)])),
            _buffer(array("Q", [each.address for _, _, each in known])),
            _buffer(array("I", chain.from_iterable(each.ends for _, _, each in known))),
            *(len(known), lists_at, entries, lists, _buffer(array("Q", room)), _buffer(sizes)),
        ):
            raise ValueError("functions that cannot be described")
        return entries.raw[: sizes[0]], lists.raw[: sizes[1]]


def _buffer(numbers: array[int]) -> Any:
    return (ctypes.c_char * (len(numbers) * numbers.itemsize)).from_buffer(numbers)
