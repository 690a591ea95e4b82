# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that count hits by a key, and their values by size (aggregate.c)."""

from __future__ import annotations

import ctypes
import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .binding import function, structure

LOG2_BUCKETS: Final = 65
"""The negative values, 0, and a bucket for each power of two below 2^63."""
KEY_SIZE: Final = 16
"""Bytes of a key: two words, little-endian, or the name of a task."""


@structure("aggregate_row")
class _Row(ctypes.Structure):
    key: ctypes.Array[ctypes.c_uint64]
    count: int
    sum: int
    executed: int


@structure("long_key")
class _LongKey(ctypes.Structure):
    length: int
    words: ctypes.Array[ctypes.c_uint64]


@structure("aggregate")
class Aggregate(ctypes.Structure):
    """`struct aggregate`."""

    key: int
    value: int
    by_task: bool
    by_caller: bool
    by_stack: bool
    text: int
    elapsed: bool
    comm: int
    buckets: int
    start: int
    step: int
    rows: int
    stride: int
    mask: int
    seed: int
    capacity: int
    used: int
    lost: int
    long_keys: int
    long_used: int


STACK_DEPTH: Final = len(_LongKey().words)
"""The most addresses of a stack that are kept."""
LONGEST_TEXT: Final = 8 * STACK_DEPTH - 1
"""The most bytes of a text that are kept."""
_INDEX: Final = struct.Struct("<Q")


class Row(NamedTuple):
    """What was counted of a key. `sum` is that of the values, modulo 2^64, and `executed` that of the guest's
    instructions during calls whose time is counted. `buckets` is empty without a histogram."""

    key: bytes
    hits: int
    sum: int
    executed: int
    buckets: tuple[int, ...]


class SavedTable(NamedTuple):
    """What a table has: the hits whose key did not fit, and the rows and long keys in use, each behind its index."""

    lost: int
    rows: bytes
    long_keys: bytes


_ADD: Final = function(
    "armprobe_aggregate_add", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64
)
_SAVE: Final = function(
    "armprobe_aggregate_save",
    None,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_uint64,
    ctypes.c_uint64,
    ctypes.c_char_p,
)
_LONG: Final = function("armprobe_aggregate_long", ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)


def _items(table: ctypes.Array[ctypes.c_char], size: int, used: int, count: int) -> bytes:
    """The `count` items that are in use, of `size` bytes each, behind their indices. The word at `used` tells them."""
    copy = ctypes.create_string_buffer(count * (_INDEX.size + size))
    if count:
        _SAVE(ctypes.addressof(table), len(table) // size, size, used, copy)
    return copy.raw


def _put_items(saved: bytes, table: ctypes.Array[ctypes.c_char], size: int) -> int:
    """Put items where they were in a table. Returns their number."""
    whole = _INDEX.size + size
    for at in range(0, len(saved), whole):
        place = ctypes.addressof(table) + _INDEX.unpack_from(saved, at)[0] * size
        ctypes.memmove(place, saved[at + _INDEX.size : at + whole], size)
    return len(saved) // whole


class AggregateTable:
    """A table for `capacity` keys, each with `buckets` buckets. `structure` is what C has of it.

    With `long`, the keys are stacks or texts, of which as many are kept.
    """

    def __init__(self, capacity: int, buckets: int, start: int = 0, step: int = 0, long: bool = False) -> None:
        self._long = long
        self._length = 2 << (capacity - 1).bit_length()
        self._stride = ctypes.sizeof(_Row) + 8 * buckets
        self.structure = Aggregate(
            buckets=buckets, start=start, step=step, stride=self._stride, mask=self._length - 1, capacity=capacity
        )
        self.structure.seed = secrets.randbits(64)
        self.clear()

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self.structure)

    @property
    def lost(self) -> int:
        """The hits whose key did not fit."""
        return self.structure.lost

    def clear(self) -> None:
        """Forget all keys."""
        self._rows = ctypes.create_string_buffer(self._length * self._stride)
        self.structure.rows = ctypes.addressof(self._rows)
        self._long_keys = ctypes.create_string_buffer(self._length * ctypes.sizeof(_LongKey) * self._long)
        self.structure.long_keys = ctypes.addressof(self._long_keys) if self._long else 0
        self.structure.used = self.structure.lost = self.structure.long_used = 0

    def saved(self) -> SavedTable:
        """What was counted, for `restore`."""
        structure = self.structure
        rows = _items(self._rows, self._stride, KEY_SIZE, structure.used)  # `count` is behind the key
        keys = _items(self._long_keys, ctypes.sizeof(_LongKey), 0, structure.long_used)  # `length` comes first
        return SavedTable(structure.lost, rows, keys)

    def restore(self, saved: SavedTable) -> None:
        """Have counted again what `saved` has returned."""
        self.clear()
        structure = self.structure
        structure.lost, rows, keys = saved
        structure.used = _put_items(rows, self._rows, self._stride)
        structure.long_used = _put_items(keys, self._long_keys, ctypes.sizeof(_LongKey))

    def add(self, key: bytes, value: int, executed: int = 0) -> None:
        """Count a value of a key of KEY_SIZE bytes, and the instructions during a call."""
        _ADD(self.address, key, value, executed)

    def stack_number(self, addresses: Sequence[int]) -> int:
        """The number of a stack, which is kept from now on; 0 if there are as many as there are keys."""
        kept = addresses[:STACK_DEPTH]
        return int(_LONG(self.address, (ctypes.c_uint64 * len(kept))(*kept), len(kept)))

    def stack(self, number: int) -> tuple[int, ...]:
        """The addresses of a stack, innermost first."""
        key = _LongKey.from_buffer(self._long_keys, (number - 1) * ctypes.sizeof(_LongKey))
        return tuple(key.words[: key.length])

    def text_number(self, text: bytes) -> int:
        """The number of a text without NULs, which is kept from now on; 0 if there are as many as there are keys."""
        data = text[:LONGEST_TEXT] + b"\0"
        size = -(-len(data) // 8)
        return int(_LONG(self.address, data.ljust(8 * size, b"\0"), size))

    def text(self, number: int) -> bytes:
        """A text."""
        key = _LongKey.from_buffer(self._long_keys, (number - 1) * ctypes.sizeof(_LongKey))
        return bytes(key.words)[: 8 * key.length].rstrip(b"\0")

    def rows(self) -> Iterator[Row]:
        """What was counted, in no order."""
        count = self.structure.buckets
        for at in range(0, self._length * self._stride, self._stride):
            row = _Row.from_buffer(self._rows, at)
            if row.count:
                buckets = (ctypes.c_uint64 * count).from_buffer(self._rows, at + ctypes.sizeof(_Row))
                yield Row(bytes(row.key), row.count, row.sum, row.executed, tuple(buckets))
