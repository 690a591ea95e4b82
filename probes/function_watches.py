# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions that are watched without a probe at each: counts of their calls, and graphs of who calls whom.

The C core looks at the start of each block that the guest executes (machine/native/functions.c), so thousands of
functions cost little, nothing is written to the guest, and functions that no kprobe may be on are watched too.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from armprobe.expressions import Condition
from armprobe.expressions.native import NeedsPython, compile_value
from armprobe.kernel import Linux
from armprobe.kernel.tasks import Task
from armprobe.machine import Symbol
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.state import Entry, Order, Volume

from .errors import ProbeError

if TYPE_CHECKING:
    from armprobe.machine.native.functions import FunctionSet, GraphEvent

    from .registration import Kprobes

EVENTS: Final = 1 << 16
"""Entries and returns that a graph keeps by default."""
_MOST_EVENTS: Final = 1 << 22
_COUNT: Final = 150  # bytes of a number by address in a dict
MOST_INSTRUCTIONS: Final = 1 << 18
"""Instructions that are counted at once: 1 MiB of code."""
_WORDS: Final = struct.Struct("<3I")
_NOP: Final = 0xD503_201F
_BTI_C: Final = 0xD503_245F
_MOV_X9_X30: Final = 0xAA1E_03E9
_BL: Final = 0x9400_0000
_OPCODE: Final = 0xFC00_0000  # of BL


class _Watch:
    """A set of functions of one registry. A context, which ends it. Raises ProbeError.

    `given` is the pattern or the function, as its user named it.
    """

    set: FunctionSet

    def __init__(self, watches: FunctionWatches, given: str) -> None:
        self._watches, self.given = watches, given

    def _make_set(self, addresses: Iterable[int], graph: int = 0, condition: Condition | None = None) -> None:
        """`condition` is of the task: other registers may be those of an earlier instruction."""
        from armprobe.machine.native.functions import FunctionSet

        try:
            program = None if condition is None else compile_value(condition)
            self.set = FunctionSet(addresses, graph, self._watches.reader, program)
        except NeedsPython as error:
            raise ProbeError(errno.EINVAL, f"the condition {condition} cannot be used here: {error}") from error
        except ValueError as error:
            raise ProbeError(errno.E2BIG, f"{error}: choose fewer, by a pattern") from error

    def close(self) -> None:
        """Watch no more. What was found stays."""
        self._watches.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def saved(self) -> Any:
        """What was found, for `restore`."""
        raise NotImplementedError

    def restore(self, saved: Any) -> None:
        """Have found what `saved` has; None for nothing."""
        raise NotImplementedError

    def size(self, saved: Any) -> int:
        """Bytes of memory that what `saved` returned takes."""
        raise NotImplementedError


class FunctionCounts(_Watch):
    """Counts the calls of functions: the executions of the instruction that each begins with.

    `functions` are those that are counted, by address. `since` is the time at which the counting began, in ticks of the
    guest's counter, and `executed_since` the guest's instructions before that.
    """

    def __init__(
        self, watches: FunctionWatches, given: str, functions: Sequence[Symbol], condition: Condition | None
    ) -> None:
        super().__init__(watches, given)
        self.functions = functions
        self._make_set((function.address for function in functions), condition=condition)
        self._begin()

    def _begin(self) -> None:
        clock = self._watches.clock
        self.since, self.executed_since = clock.now, clock.executed

    def counted(self) -> list[tuple[Symbol, int]]:
        """The functions that were called, and how often, the most frequent last."""
        calls = self.set.calls()
        found = [(function, calls[function.address]) for function in self.functions if function.address in calls]
        return sorted(found, key=lambda each: (each[1], each[0].name))

    def clear(self) -> None:
        """Count from 0."""
        self.restore(None)

    def saved(self) -> tuple[dict[int, int], int, int]:
        """See `_Watch`."""
        return self.set.calls(), self.since, self.executed_since

    def restore(self, saved: tuple[dict[int, int], int, int] | None) -> None:
        """See `_Watch`."""
        if saved is None:
            self.set.put_calls({})
            self._begin()
        else:
            self.set.put_calls(saved[0])
            self.since, self.executed_since = saved[1:]

    def size(self, saved: tuple[dict[int, int], int, int]) -> int:
        """See `_Watch`."""
        return _COUNT * len(saved[0])


class InstructionCounts(_Watch):
    """Counts how often each instruction of functions is executed. One that faults and is repeated counts twice."""

    def __init__(self, watches: FunctionWatches, given: str, functions: Sequence[Symbol]) -> None:
        super().__init__(watches, given)
        self.functions = functions
        self._make_set(at for each in functions for at in range(each.address, each.address + max(each.size, 4), 4))

    def counted(self) -> dict[int, int]:
        """How often each instruction was executed, by its address. Those that were not are left out."""
        return self.set.calls()

    def saved(self) -> dict[int, int]:
        """See `_Watch`."""
        return self.set.calls()

    def restore(self, saved: dict[int, int] | None) -> None:
        """See `_Watch`."""
        self.set.put_calls(saved or {})

    def size(self, saved: dict[int, int]) -> int:
        """See `_Watch`."""
        return _COUNT * len(saved)


@lazy_dataclass
class GraphCall:
    """The entry or the return of a call in a graph.

    `function` is the one called, `depth` the number of calls around it. `ticks` is the time, by the guest's counter of
    62.5 MHz, and `instructions` the guest's count then. `task` is None if it is not known; `thread` tells tasks apart
    even then.
    """

    function: Symbol
    depth: int
    returns: bool
    ticks: int
    instructions: int
    task: Task | None
    thread: int


class FunctionGraph(_Watch):
    """The calls that a function makes, directly and through others, to a `depth` that counts itself.

    In a Linux guest those functions are seen that its own function_graph tracer sees, which begin with room for a call
    of the tracer. In other guests, or with `every`, it is all. Interrupts during a call are a part of it. `most` calls
    of the function are followed, 0 for no bound. `lost` is the number of entries and returns that did not fit, and
    `refused` that of calls in more tasks at once than can be followed.
    """

    def __init__(
        self,
        watches: FunctionWatches,
        given: str,
        root: Symbol,
        among: Sequence[Symbol],
        depth: int,
        most: int,
        capacity: int,
        condition: Condition | None,
    ) -> None:
        from armprobe.machine.native.functions import GRAPH_DEPTH, Graph, GraphEvent

        super().__init__(watches, given)
        if not 1 <= depth <= GRAPH_DEPTH:
            raise ProbeError(errno.EINVAL, f"a graph can have a depth of 1 to {GRAPH_DEPTH}, not {depth}")
        if not 1 <= capacity <= _MOST_EVENTS:
            raise ProbeError(errno.EINVAL, f"a graph can keep 1 to {_MOST_EVENTS} entries and returns, not {capacity}")
        if most < 0:
            raise ProbeError(errno.EINVAL, f"{most} calls cannot be followed: give a number from 1, or 0 for all")
        self.root, self.depth, self.most = root, depth, most
        self._names = {function.address: function for function in (*among, root)}
        self._events = (GraphEvent * capacity)()
        self._graph = Graph(root=root.address, depth=depth, most=most, capacity=capacity)
        self._graph.events = ctypes.addressof(self._events)
        self._make_set(self._names, ctypes.addressof(self._graph), condition)

    def find_task(self, offsets: tuple[int, int] | None) -> None:
        """Have the names and numbers of tasks read at these offsets."""
        self._graph.reads_task = offsets is not None
        if offsets is not None:
            self._graph.comm, self._graph.pid = offsets

    @property
    def seen(self) -> list[Symbol]:
        """The functions that can be seen, by address."""
        return list(self._names.values())

    @property
    def functions(self) -> int:
        """Their number."""
        return len(self._names)

    @property
    def followed(self) -> int:
        """The calls of the function that were followed."""
        return int(self._graph.begun)

    @property
    def lost(self) -> int:
        """The entries and returns that did not fit."""
        return int(self._graph.lost)

    @property
    def refused(self) -> int:
        """The calls in more tasks at once than can be followed."""
        return int(self._graph.refused)

    @property
    def complete(self) -> bool:
        """Whether `most` calls of the function have returned."""
        return bool(self.most) and self._graph.ended >= self.most

    def calls(self) -> list[GraphCall]:
        """The entries and returns so far, in order of time."""
        return [self._call(self._events[at]) for at in range(self._graph.written)]

    def _call(self, event: GraphEvent) -> GraphCall:
        name = bytes(event.comm).partition(b"\0")[0].decode("utf-8", "replace")
        task = Task(name, event.pid) if event.task_known else None
        function = self._names[event.address]
        return GraphCall(function, event.depth, event.returns, event.ticks, event.executed, task, event.task)

    def clear(self) -> None:
        """Forget what was found. Calls under way are forgotten, too."""
        self.restore(None)

    def saved(self) -> tuple[bytes, bytes]:
        """See `_Watch`."""
        from armprobe.machine.native.functions import GraphEvent

        size = self._graph.written * ctypes.sizeof(GraphEvent)
        return bytes(self._graph), ctypes.string_at(ctypes.addressof(self._events), size)

    def restore(self, saved: tuple[bytes, bytes] | None) -> None:
        """See `_Watch`."""
        graph = self._graph
        if saved is None:
            kept = {name: getattr(graph, name) for name in ("root", "depth", "most", "capacity", "events")}
            kept |= {name: getattr(graph, name) for name in ("reads_task", "comm", "pid")}
            ctypes.memset(ctypes.addressof(graph), 0, ctypes.sizeof(graph))
            for name, value in kept.items():
                setattr(graph, name, value)
        else:
            ctypes.memmove(ctypes.addressof(graph), saved[0], len(saved[0]))
            ctypes.memmove(self._events, saved[1], len(saved[1]))

    def size(self, saved: tuple[bytes, bytes]) -> int:
        """See `_Watch`."""
        return len(saved[0]) + len(saved[1])


class FunctionWatches:
    """The sets of functions that are watched on one machine."""

    def __init__(self, kprobes: Kprobes) -> None:
        self._kprobes, self._machine = kprobes, kprobes.machine
        self.clock = kprobes.machine.clock
        self.reader = kprobes.machine.core.reader
        self._watches: list[_Watch] = []
        entry = Entry(Order.PROBES, self._save, self._restore, volume=self._volume)
        self._machine.state.add("function watches", entry)

    def count(self, pattern: str, condition: Condition | None) -> FunctionCounts:
        """See `Kprobes.funccount`."""
        functions = self._kprobes.functions(pattern)
        if not functions:
            raise ProbeError(errno.ENOENT, f"no function matches {pattern!r}")
        counts = FunctionCounts(self, pattern, functions, condition)
        self._add(counts)
        return counts

    def count_instructions(self, pattern: str) -> InstructionCounts:
        """Count the instructions of the functions that match a pattern. Raises ProbeError (ENOENT, E2BIG)."""
        functions = self._kprobes.functions(pattern)
        if not functions:
            raise ProbeError(errno.ENOENT, f"no function matches {pattern!r}")
        if sum(each.size for each in functions) // 4 > MOST_INSTRUCTIONS:
            raise ProbeError(errno.E2BIG, f"{pattern!r} has over {MOST_INSTRUCTIONS:,} instructions: choose fewer")
        counts = InstructionCounts(self, pattern, functions)
        self._add(counts)
        return counts

    def graph(
        self, name: str | int, depth: int, most: int, every: bool, capacity: int, condition: Condition | None
    ) -> FunctionGraph:
        """See `Kprobes.funcgraph`."""
        root = self._root(name)
        functions = self._kprobes.functions()
        traces = isinstance(self._machine.kernel, Linux) and not every
        traceable = self._traceable(functions) if traces else set()
        among = [each for each in functions if each.address in traceable] or functions
        given = name if isinstance(name, str) else f"{name:#x}"
        graph = FunctionGraph(self, given, root, among, depth, most, capacity, condition)
        kernel = self._machine.kernel
        graph.find_task(kernel.tasks.offsets if kernel is not None and kernel.tasks is not None else None)
        self._add(graph)
        return graph

    @property
    def graphs(self) -> list[FunctionGraph]:
        """The graphs of calls that are being made, in the order in which they were begun."""
        return [each for each in self._watches if isinstance(each, FunctionGraph)]

    def remove(self, watched: _Watch) -> None:
        """Watch it no more."""
        if watched in self._watches:
            self._watches.remove(watched)
            self._update()

    def _root(self, name: str | int) -> Symbol:
        symbols = self._machine.symbols
        if isinstance(name, str):
            return symbols[name]
        found = symbols.at(name)
        if found is None or found[1]:
            raise ProbeError(errno.EINVAL, f"{name:#x} is not the entry of a function, where its calls begin")
        return found[0]

    def _add(self, watched: _Watch) -> None:
        self._watches.append(watched)
        self._update()

    def _update(self) -> None:
        from armprobe.machine.native.functions import watch

        watch(self._machine.core, [each.set for each in self._watches])

    def _save(self) -> dict[_Watch, Any]:
        return {each: each.saved() for each in self._watches}

    def _volume(self, saved: dict[_Watch, Any]) -> Volume:
        return Volume(sum(each.size(found) for each, found in saved.items()))

    def _restore(self, saved: dict[_Watch, Any]) -> None:
        for each in self._watches:
            each.restore(saved.get(each))

    def _traceable(self, functions: Sequence[Symbol]) -> set[int]:
        """The addresses of functions that the kernel's function tracer can trace.

        The compiler has put two NOPs behind the landing pad for branches, if there is one (-fpatchable-function-entry),
        and ftrace_init_nop() has made the first MOV X9, X30. The second becomes a call of the tracer while it traces
        (arch/arm64/kernel/ftrace.c).
        """
        found: dict[int, set[int]] = {_MOV_X9_X30: set(), _NOP: set()}
        pages: dict[int, bytes] = {}
        for address in (function.address for function in functions if function.address % 4 == 0):
            words = b"".join(self._word(pages, at) for at in (address, address + 4, address + 8))
            if len(words) < _WORDS.size:
                continue  # the guest has freed it, as it does with what is for booting only
            first, second, third = _WORDS.unpack(words)
            if first == _BTI_C:
                first, second = second, third
            if first in found and (second == _NOP or second & _OPCODE == _BL):
                found[first].add(address)
        return found[_MOV_X9_X30] or found[_NOP]  # NOPs before the kernel has got so far

    def _word(self, pages: dict[int, bytes], address: int) -> bytes:
        """The word at `address`, empty if nothing is mapped there. `pages` are those that were read already."""
        page = address & ~0xFFF
        if page not in pages:
            data = self._machine.core.read_virtual(page, 0x1000)
            pages[page] = b"" if data is None else self._kprobes.unpatched(page, data)
        return pages[page][address & 0xFFF :][:4]


class Watched:
    """The ways in which the user of a registry watches many functions."""

    watches: FunctionWatches

    def funccount(self, pattern: str, condition: Condition | None = None) -> FunctionCounts:
        """Count the calls of the functions that match a pattern such as "vfs_*", in tasks that meet a condition.

        Raises ProbeError (ENOENT).
        """
        return self.watches.count(pattern, condition)

    def funcgraph(
        self,
        function: str | int,
        depth: int = 16,
        calls: int = 0,
        *,
        every: bool = False,
        events: int = EVENTS,
        condition: Condition | None = None,
    ) -> FunctionGraph:
        """Follow the calls that `function` makes, and those that these make. See `FunctionGraph`.

        `calls` of it are followed, 0 for all, in tasks that meet a `condition`, and `events` entries and returns are
        kept. Raises ProbeError.
        """
        return self.watches.graph(function, depth, calls, every, events, condition)
