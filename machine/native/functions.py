# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of functions that one core watches by the blocks it executes (functions.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from .binding import link, structure
from .program import Program, Reader

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

_GAP: Final = 1 << 28
"""Bytes without a function of a set behind which another map begins."""
_MOST_MAPS: Final = 64


@structure("function_row")
class _FunctionRow(ctypes.Structure):
    address: int
    calls: int


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
    rows: int
    mask: int
    entered: int
    entered_at: int
    graph: int
    reader: int
    condition: int


class _Part:
    """Functions of a set that are near to each other, and so have one map."""

    def __init__(self, members: Sequence[int], graph: int) -> None:
        start, size = members[0] & ~31, members[-1] + 4 - (members[0] & ~31)
        self._map = (ctypes.c_uint8 * (size // 32 + 1 + 8))()
        length = 2 << len(members).bit_length()
        self._rows = (_FunctionRow * length)()
        self.by_address: dict[int, _FunctionRow] = {}
        for address in members:
            word = (address - start) // 4
            self._map[word // 8] |= 1 << word % 8
            at = address // 4 % length
            while self._rows[at].address:
                at = (at + 1) % length
            self._rows[at].address = address
            self.by_address[address] = self._rows[at]
        self.structure = Functions(start=start, size=size, mask=length - 1, graph=graph)
        self.structure.map, self.structure.rows = ctypes.addressof(self._map), ctypes.addressof(self._rows)


class FunctionSet:
    """A set of functions, by their `addresses`, of which there is at least one.

    `graph` is the address of a `Graph` that is made of their calls. Without it the calls of each are counted. A
    `condition`, which `reader` reads memory for, chooses the tasks whose calls these are. Raises ValueError if the
    functions are in more places far from each other than there can be maps.
    """

    def __init__(
        self, addresses: Iterable[int], graph: int = 0, reader: Reader | None = None, condition: Program | None = None
    ) -> None:
        members = sorted(set(addresses))
        ends = [at for at in range(1, len(members)) if members[at] - members[at - 1] > _GAP]
        if len(ends) >= _MOST_MAPS:
            raise ValueError(f"the functions are in {len(ends) + 1} places far from each other")
        self.parts = [_Part(members[start:end], graph) for start, end in pairwise([0, *ends, len(members)])]
        self._kept = reader, condition
        if reader is not None and condition is not None:
            for part in self.parts:
                part.structure.reader, part.structure.condition = ctypes.addressof(reader), condition.address
        self._by_address = {address: row for part in self.parts for address, row in part.by_address.items()}

    def calls(self) -> dict[int, int]:
        """The calls of each function that was called, by its address."""
        return {address: row.calls for address, row in self._by_address.items() if row.calls}

    def put_calls(self, calls: dict[int, int]) -> None:
        """Have counted what `calls` returned."""
        for address, row in self._by_address.items():
            row.calls = calls.get(address, 0)
        for part in self.parts:
            part.structure.entered_at = part.structure.entered = 0


def watch(core: Core, sets: Sequence[FunctionSet]) -> None:
    """Have `core` watch these sets, and no others, from now on."""
    core.native.watch_functions(link([part.structure for each in sets for part in each.parts]))
