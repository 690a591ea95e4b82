# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that count hits by a key, and their values by size (aggregate.c)."""

from __future__ import annotations

import ctypes
import secrets
import struct
from collections.abc import Iterator
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


@structure("aggregate")
class Aggregate(ctypes.Structure):
    """`struct aggregate`."""

    key: int
    value: int
    by_task: bool
    by_caller: bool
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


_COUNTERS: Final = struct.Struct("<2Q")


class Row(NamedTuple):
    """What was counted of a key. `sum` is that of the values, modulo 2^64. `buckets` is empty without a histogram."""

    key: bytes
    hits: int
    sum: int
    buckets: tuple[int, ...]


_ADD: Final = function("armprobe_aggregate_add", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64)


class AggregateTable:
    """A table for `capacity` keys, each with `buckets` buckets. `structure` is what C has of it."""

    def __init__(self, capacity: int, buckets: int, start: int = 0, step: int = 0) -> None:
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
        self.structure.used = self.structure.lost = 0

    def saved(self) -> bytes:
        """The rows and the counters, for `restore`; empty if nothing was counted."""
        structure = self.structure
        if not (structure.used or structure.lost):
            return b""
        return _COUNTERS.pack(structure.used, structure.lost) + self._rows.raw

    def restore(self, saved: bytes) -> None:
        """Have the rows and counters again that `saved` has returned."""
        self.clear()
        if saved:
            self.structure.used, self.structure.lost = _COUNTERS.unpack_from(saved)
            ctypes.memmove(self._rows, saved[_COUNTERS.size :], len(self._rows))

    def add(self, key: bytes, value: int) -> None:
        """Count a value of a key of KEY_SIZE bytes."""
        _ADD(self.address, key, value)

    def rows(self) -> Iterator[Row]:
        """What was counted, in no order."""
        count = self.structure.buckets
        for at in range(0, self._length * self._stride, self._stride):
            row = _Row.from_buffer(self._rows, at)
            if row.count:
                buckets = (ctypes.c_uint64 * count).from_buffer(self._rows, at + ctypes.sizeof(_Row))
                yield Row(bytes(row.key), row.count, row.sum, tuple(buckets))
