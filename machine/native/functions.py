# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of functions that one core watches by the blocks it executes (functions.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from itertools import compress, pairwise
from typing import TYPE_CHECKING, Final

from .binding import link, structure
from .program import Program, Reader

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

_GAP: Final = 1 << 28
"""Bytes without a function of a set behind which another map begins."""
_MOST_MAPS: Final = 64


@structure("graph_event")
class GraphEvent(ctypes.Structure):
    """`struct graph_event`: the entry or the return of a call."""

    address: int
    ticks: int
    executed: int
    task: int
    depth: int
    pid: int
    returns: bool
    task_known: bool
    comm: ctypes.Array[ctypes.c_uint8]


@structure("graph_call")
class _GraphCall(ctypes.Structure):
    address: int


@structure("graph_stack")
class _GraphStack(ctypes.Structure):
    depth: int
    calls: ctypes.Array[_GraphCall]


@structure("graph")
class Graph(ctypes.Structure):
    """`struct graph`: the calls of a root, as events."""

    root: int
    depth: int
    reads_task: bool
    comm: int
    pid: int
    events: int
    capacity: int
    written: int
    lost: int
    begun: int
    ended: int
    refused: int
    most: int
    active: int
    stacks: ctypes.Array[_GraphStack]


GRAPH_DEPTH: Final = len(_GraphStack().calls)
"""The most calls within each other that a graph can have."""


@structure("functions")
class Functions(ctypes.Structure):
    """`struct functions`: a set of functions."""

    next: int
    start: int
    size: int
    map: int
    before: int
    calls: int
    entered: int
    entered_at: int
    graph: int
    reader: int
    condition: int


class _Part:
    """Functions of a set that are near to each other, and so have one map. `members` are in ascending order."""

    def __init__(self, members: Sequence[int], graph: int) -> None:
        start = members[0] & ~31
        size = members[-1] + 4 - start
        bits, before = bytearray(size // 32 + 1 + 8), (ctypes.c_uint32 * (size // 256 + 1))()
        for number in range(len(members) - 1, -1, -1):
            word = (members[number] - start) // 4
            bits[word // 8] |= 1 << word % 8
            before[word // 64] = number  # the lowest there is the last
        self.members, self._before = members, before
        self.counts = (ctypes.c_uint64 * len(members))()
        self._map = (ctypes.c_uint8 * len(bits)).from_buffer(bits)
        self.structure = Functions(start=start, size=size, graph=graph)
        self.structure.map, self.structure.before = ctypes.addressof(self._map), ctypes.addressof(self._before)
        self.structure.calls = ctypes.addressof(self.counts)


class FunctionSet:
    """A set of functions, by their `addresses`. One that is not a multiple of 4 is never called.

    `graph` is the address of a `Graph` that is made of their calls. Without it the calls of each are counted. A
    `condition`, which `reader` reads memory for, chooses the tasks whose calls these are. Raises ValueError if the
    functions are in more places far from each other than there can be maps.
    """

    def __init__(
        self, addresses: Iterable[int], graph: int = 0, reader: Reader | None = None, condition: Program | None = None
    ) -> None:
        members = sorted({address for address in addresses if address % 4 == 0})
        ends = [at for at in range(1, len(members)) if members[at] - members[at - 1] > _GAP]
        if len(ends) >= _MOST_MAPS:
            raise ValueError(f"the functions are in {len(ends) + 1} places far from each other")
        bounds = pairwise([0, *ends, len(members)])
        self.parts = [_Part(members[start:end], graph) for start, end in bounds if start < end]
        self._kept = reader, condition
        if reader is not None and condition is not None:
            for part in self.parts:
                part.structure.reader, part.structure.condition = ctypes.addressof(reader), condition.address

    def calls(self) -> dict[int, int]:
        """The calls of each function that was called, by its address."""
        found: dict[int, int] = {}
        for part in self.parts:
            counts = part.counts[:]
            found.update(compress(zip(part.members, counts, strict=True), counts))
        return found

    def put_calls(self, calls: dict[int, int]) -> None:
        """Have counted what `calls` returned."""
        for part in self.parts:
            part.counts[:] = [calls.get(address, 0) for address in part.members]
            part.structure.entered_at = part.structure.entered = 0


def watch(core: Core, sets: Sequence[FunctionSet]) -> None:
    """Have `core` watch these sets, and no others, from now on."""
    core.native.watch_functions(link([part.structure for each in sets for part in each.parts]))
