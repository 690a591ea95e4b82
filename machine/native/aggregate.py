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


@structure("stack_row")
class _StackRow(ctypes.Structure):
    length: int
    addresses: ctypes.Array[ctypes.c_uint64]


@structure("aggregate")
class Aggregate(ctypes.Structure):
    """`struct aggregate`."""

    key: int
    value: int
    by_task: bool
    by_caller: bool
    by_stack: bool
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
    stacks: int
    stacks_used: int


STACK_DEPTH: Final = len(_StackRow().addresses)
"""The most addresses of a stack that are kept."""
_COUNTERS: Final = struct.Struct("<3Q")


class Row(NamedTuple):
    """What was counted of a key. `sum` is that of the values, modulo 2^64, and `executed` that of the guest's
    instructions during calls whose time is counted. `buckets` is empty without a histogram."""

    key: bytes
    hits: int
    sum: int
    executed: int
    buckets: tuple[int, ...]


_ADD: Final = function(
    "armprobe_aggregate_add", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64
)
_STACK: Final = function("armprobe_aggregate_stack", ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)


class AggregateTable:
    """A table for `capacity` keys, each with `buckets` buckets. `structure` is what C has of it.

    With `stacks`, the keys are stacks, of which as many are kept.
    """

    def __init__(self, capacity: int, buckets: int, start: int = 0, step: int = 0, stacks: bool = False) -> None:
        self._keeps_stacks = stacks
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
        self._stacks = ctypes.create_string_buffer(self._length * ctypes.sizeof(_StackRow) * self._keeps_stacks)
        self.structure.stacks = ctypes.addressof(self._stacks) if self._keeps_stacks else 0
        self.structure.used = self.structure.lost = self.structure.stacks_used = 0

    def saved(self) -> bytes:
        """The rows and the counters, for `restore`; empty if nothing was counted."""
        structure = self.structure
        if not (structure.used or structure.lost):
            return b""
        return _COUNTERS.pack(structure.used, structure.lost, structure.stacks_used) + self._rows.raw + self._stacks.raw

    def restore(self, saved: bytes) -> None:
        """Have the rows and counters again that `saved` has returned."""
        self.clear()
        if saved:
            structure, rows = self.structure, len(self._rows)
            structure.used, structure.lost, structure.stacks_used = _COUNTERS.unpack_from(saved)
            ctypes.memmove(self._rows, saved[_COUNTERS.size :], rows)
            ctypes.memmove(self._stacks, saved[_COUNTERS.size + rows :], len(self._stacks))

    def add(self, key: bytes, value: int, executed: int = 0) -> None:
        """Count a value of a key of KEY_SIZE bytes, and the instructions during a call."""
        _ADD(self.address, key, value, executed)

    def stack_number(self, addresses: Sequence[int]) -> int:
        """The number of a stack, which is kept from now on; 0 if there are as many as there are keys."""
        kept = addresses[:STACK_DEPTH]
        return int(_STACK(self.address, (ctypes.c_uint64 * len(kept))(*kept), len(kept)))

    def stack(self, number: int) -> tuple[int, ...]:
        """The addresses of a stack, innermost first."""
        row = _StackRow.from_buffer(self._stacks, (number - 1) * ctypes.sizeof(_StackRow))
        return tuple(row.addresses[: row.length])

    def rows(self) -> Iterator[Row]:
        """What was counted, in no order."""
        count = self.structure.buckets
        for at in range(0, self._length * self._stride, self._stride):
            row = _Row.from_buffer(self._rows, at)
            if row.count:
                buckets = (ctypes.c_uint64 * count).from_buffer(self._rows, at + ctypes.sizeof(_Row))
                yield Row(bytes(row.key), row.count, row.sum, row.executed, tuple(buckets))
