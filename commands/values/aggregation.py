# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes have counted."""

from __future__ import annotations

from typing import Literal

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Location
from .probes import ProbeRow


@lazy_dataclass
class HistogramBucket:
    """The number of values from `low` to `high`, inclusive.

    low, high: None where there is no bound.
    """

    low: int | None
    high: int | None
    count: int


@lazy_dataclass
class CountedKey:
    """What was counted of one key.

    number, text, comm, caller, stack: the key, as the value of an expression, which may be a text, the name of a task,
    the place that a function returns to, or the function with the places that it and its callers return to. One of them
    is not None, or none if hits are counted without a key. count: the number of hits.
    total: the sum of their values, as a signed number of 64 bits; None without values, as average is.
    buckets: the histogram, from the first bucket to the last that is not empty.
    instructions: the guest's instructions during the calls, if their time is counted; otherwise None.
    """

    number: int | None
    comm: str | None
    caller: Location | None
    count: int
    total: int | None
    average: int | None
    buckets: tuple[HistogramBucket, ...]
    stack: tuple[Location, ...] | None = None
    instructions: int | None = None
    text: str | None = None


@lazy_dataclass
class Aggregated:
    """What a probe has counted.

    value: whose histogram it is, as the user wrote it; None if hits are only counted. unit: ns, or nothing.
    by: the key, as the user wrote it; None without one. linear: whether the histogram is linear.
    keys: the keys, the most frequent last. capacity: the number of keys that there can be.
    lost: the number of hits whose key came when there were so many.
    failed: the number of hits whose key or value could not be evaluated.
    """

    probe: ProbeRow
    value: str | None
    unit: str
    by: str | None
    linear: bool
    keys: tuple[CountedKey, ...]
    capacity: int
    lost: int
    failed: int


@lazy_dataclass
class FoldedStack:
    """A stack, in the form that flame graphs are made of.

    frames: the names of the functions, outermost first. count: the number of hits.
    """

    frames: tuple[str, ...]
    count: int


class FoldedStacks(tuple[FoldedStack, ...]):
    """The stacks of a probe's hits."""


@lazy_dataclass
class Watched:
    """Functions that are watched from now on.

    number: what commands call them by. kind: what is done with them.
    given: the pattern or function as the user named it. functions: the number of functions that are watched.
    """

    number: int
    kind: Literal["funccount", "funcgraph"]
    given: str
    functions: int


@lazy_dataclass
class FunctionCalls:
    """The number of calls of a function."""

    function: Location
    calls: int


@lazy_dataclass
class FunctionsCounted:
    """The calls of functions that match a pattern.

    number, pattern, functions: as of `Watched`. seconds, instructions: the guest's time and its instructions since the
    counting began. called: the functions that were called, the most frequent last.
    """

    number: int
    pattern: str
    functions: int
    seconds: float
    instructions: int
    called: tuple[FunctionCalls, ...]


@lazy_dataclass
class TopFunctions:
    """The functions that are called most.

    counted: all that was counted. top: the functions with the most calls, the most frequent first.
    """

    counted: FunctionsCounted
    top: tuple[FunctionCalls, ...]


@lazy_dataclass
class GraphLine:
    """A line of a graph of calls.

    kind: entry and return of a call, or leaf for a call without others in it. depth: the number of calls around it.
    task, pid: name and number of the guest's task; None if they are not known. seconds: guest time since reset.
    duration: guest time of the call in ns, and instructions: the guest's instructions in it; None at an entry, and for
    a call that has not returned. interrupt: the function is one that the kernel handles interrupts by.
    """

    kind: Literal["entry", "return", "leaf"]
    depth: int
    function: Location
    task: str | None
    pid: int | None
    seconds: float
    duration: int | None
    instructions: int | None
    interrupt: bool


@lazy_dataclass
class CallGraph:
    """The calls that a function has made.

    number, functions: as of `Watched`. function: as the user named it. depth: the most calls within each other.
    lines: the calls, in order of time. lost: the number of entries and returns for which there was no room.
    refused: the number of calls of the function that were not followed, since they were in too many tasks at once.
    """

    number: int
    function: str
    depth: int
    functions: int
    lines: tuple[GraphLine, ...]
    lost: int
    refused: int


class Aggregates(tuple[Aggregated | FunctionsCounted | CallGraph, ...]):
    """What the probes have counted, each its own, and the functions that are watched."""
