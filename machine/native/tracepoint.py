# SPDX-License-Identifier: GPL-2.0-or-later
"""Places in the guest's kernel at which its events happen, as the C core watches them (tracepoint.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from .binding import link, structure
from .code_hook import Ask, CodeHook
from .places import NEVER, Action


@structure("tracepoint")
class TracepointStructure(ctypes.Structure):
    """`struct tracepoint`."""

    next: int
    recorder: int
    interpreter: int
    actions: int
    ask: int
    reached: int
    target: int
    stops: int
    targets: int
    stop_count: int
    framed: bool
    list: int
    make: int
    reserve: int
    commit: int
    file: int
    returns: int
    probe: int
    functions: int
    record_at: int
    id: int
    preempt_count: int
    flags: int
    pid: int
    migration: int
    stack: int
    tpidr_el1: int
    number: int
    enters: bool
    in_x0: bool
    regs: int
    syscallno: int
    user_pstate: int
    general: int
    orig_x0: int
    field_count: int
    offsets: ctypes.Array[ctypes.c_uint32]
    sizes: ctypes.Array[ctypes.c_uint32]
    size: int
    most: int
    data: int


@structure("tracepoints")
class _Tracepoints(ctypes.Structure):
    first: int


class TracepointPlace:
    """One address at which an event happens, described by `structure`.

    `stops` are the addresses at which the code behind a branch ends: the function of the one who traces, what is behind
    the branch, and branches within that code, which go on at the `targets`. C calls `ask` for a hit that it leaves to
    Python.
    """

    def __init__(
        self, structure: TracepointStructure, stops: Sequence[int], targets: Sequence[int], ask: Callable[[], None]
    ) -> None:
        self.structure, self._ask = structure, Ask(ask)
        self._stops, self._targets = (ctypes.c_uint64 * len(stops))(*stops), (ctypes.c_uint64 * len(stops))(*targets)
        structure.stops, structure.targets = map(ctypes.addressof, (self._stops, self._targets))
        structure.stop_count, structure.reached, structure.ask = len(stops), NEVER, self._ask.address
        self._data = ctypes.create_string_buffer(structure.most)
        structure.data = ctypes.addressof(self._data)
        self._actions: Sequence[Action] = ()

    def do(self, actions: Sequence[Action]) -> None:
        """Do these at a hit, in this order."""
        self._actions = actions
        self.structure.actions = link(actions)


class TracepointHooks:
    """The hooks of one core at which C handles events: one at each address. `core` is the address of the structure."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._hooks: dict[int, tuple[CodeHook, _Tracepoints]] = {}
        self._places: dict[int, Sequence[TracepointPlace]] = {}

    def put(self, address: int, places: Sequence[TracepointPlace]) -> None:
        """Have C handle these events at an address, in this order, and no others. The engine executes nothing."""
        self._places[address] = places
        first = link([place.structure for place in places])
        if address in self._hooks and not places:
            self._hooks.pop(address)[0].remove()
        elif places:
            if address not in self._hooks:
                tracepoints = _Tracepoints()
                hook = CodeHook(self._core, "armprobe_on_tracepoint", ctypes.addressof(tracepoints), address)
                self._hooks[address] = hook, tracepoints
            self._hooks[address][1].first = first
