# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of hist triggers, and the triggers as the C core has them (histogram.c)."""

from __future__ import annotations

import ctypes
import mmap
import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .binding import function, link, structure
from .pages import address_of
from .program import Program, ProgramStructure, Text, TextStructure

COMM: Final = 16
"""Bytes of a task's name."""
_COUNTERS: Final = struct.Struct("<3Q")


@structure("histogram")
class _Histogram(ctypes.Structure):
    rows: int
    stride: int
    key_size: int
    values: int
    capacity: int
    used: int
    hits: int
    drops: int
    index: int
    mask: int
    seed: int


@structure("histogram_key")
class _Key(ctypes.Structure):
    stack: bool
    function: int
    number: ProgramStructure
    text: TextStructure
    size: int


@structure("histogram_trigger")
class _Trigger(ctypes.Structure):
    next: int
    histogram: int
    filter: int
    paused: bool
    keys: int
    key_count: int
    values: int
    hit_key: int
    hit_values: int


class Row(NamedTuple):
    """What was counted of a key: the sums of the values, modulo 2^64, and the name of the task that was first."""

    key: bytes
    sums: tuple[int, ...]
    comm: bytes


_ADD: Final = function(
    "armprobe_histogram_add", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p
)
_INDEX: Final = function("armprobe_histogram_index", None, ctypes.c_void_p)


class HistogramTable:
    """A table for `capacity` keys of `key_size` bytes, a multiple of 8, with sums of so many `values`.

    The memory of a row is taken when it is used first.
    """

    def __init__(self, capacity: int, key_size: int, values: int) -> None:
        self._row = struct.Struct(f"<{key_size}s{values}Q{COMM}s")
        self._values = ctypes.c_uint64 * values
        self._slots = 2 << (capacity - 1).bit_length()
        self._structure = _Histogram(
            stride=self._row.size, key_size=key_size, values=values, capacity=capacity, mask=self._slots - 1
        )
        self._structure.seed = secrets.randbits(64)
        self.clear()

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self._structure)

    @property
    def hits(self) -> int:
        """The hits that are counted."""
        return self._structure.hits

    @property
    def drops(self) -> int:
        """The hits whose key did not fit."""
        return self._structure.drops

    def clear(self) -> None:
        """Forget all keys."""
        self._rows = mmap.mmap(-1, self._structure.capacity * self._row.size)
        self._index = mmap.mmap(-1, self._slots * ctypes.sizeof(ctypes.c_uint32))
        self._structure.rows, self._structure.index = map(address_of, (self._rows, self._index))
        self._structure.used = self._structure.hits = self._structure.drops = 0

    def saved(self) -> bytes:
        """The rows and the counters, for `restore`."""
        structure = self._structure
        counters = _COUNTERS.pack(structure.used, structure.hits, structure.drops)
        return counters + self._rows[: structure.used * self._row.size]

    def restore(self, saved: bytes) -> None:
        """Have the rows and counters again that `saved` has returned; none if it is empty."""
        self.clear()
        if saved:
            structure = self._structure
            structure.used, structure.hits, structure.drops = _COUNTERS.unpack_from(saved)
            self._rows[: len(saved) - _COUNTERS.size] = saved[_COUNTERS.size :]
            _INDEX(self.address)

    def add(self, key: bytes, values: Sequence[int], comm: bytes) -> None:
        """Count the values of a key. `comm` is the task's name, for a key that is new."""
        _ADD(self.address, key, self._values(*values), comm[: COMM - 1].ljust(COMM, b"\0"))

    def rows(self) -> Iterator[Row]:
        """What was counted, in the order in which the keys came."""
        for at in range(self._structure.used):
            key, *sums, comm = self._row.unpack_from(self._rows, at * self._row.size)
            yield Row(key, tuple(sums), comm.partition(b"\0")[0])


class Stack(NamedTuple):
    """The stack at the entry or the return of a function: where it and its callers return to.

    At the entry, the address of the `function` is before those; at the return it is 0.
    """

    function: int


class KeyPart(NamedTuple):
    """A part of a key, of `size` bytes: a number, a stack, or a text, which is cut to size - 1 bytes."""

    source: Program | Text | Stack
    size: int


class HistogramTrigger:
    """Counts the hits at which `filter` is not 0 in `table`, by `keys`, with the sums of `values`."""

    def __init__(
        self, table: HistogramTable, keys: Sequence[KeyPart], values: Sequence[Program], filter_: Program | None
    ) -> None:
        self._table, self._parts, self._programs, self._filter = table, keys, values, filter_
        self._keys = (_Key * len(keys))()
        for key, part in zip(self._keys, keys, strict=True):
            key.size = part.size
            if isinstance(part.source, Text):
                key.text = part.source.structure
            elif isinstance(part.source, Stack):
                key.stack, key.function = True, part.source.function
            else:
                key.number = part.source.structure
        self._values = (ProgramStructure * len(values))(*(value.structure for value in values))
        self._hit_key = ctypes.create_string_buffer(sum(part.size for part in keys))
        self._hit_values = (ctypes.c_uint64 * len(values))()
        self._structure = _Trigger(
            histogram=table.address,
            filter=0 if filter_ is None else filter_.address,
            keys=ctypes.addressof(self._keys),
            key_count=len(keys),
            values=ctypes.addressof(self._values),
            hit_key=ctypes.addressof(self._hit_key),
            hit_values=ctypes.addressof(self._hit_values),
        )

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self._structure)

    @property
    def paused(self) -> bool:
        """Whether it counts nothing."""
        return self._structure.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._structure.paused = paused


def chained(triggers: Sequence[HistogramTrigger]) -> int:
    """Have C do these in order at a hit. Gives the address of the first, 0 if there is none."""
    return link([trigger._structure for trigger in triggers])
