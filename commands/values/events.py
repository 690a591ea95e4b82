# SPDX-License-Identifier: GPL-2.0-or-later
"""Events, as in the kernel's kprobe_events."""

from __future__ import annotations

from typing import Literal

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Hex


@lazy_dataclass
class EventRow:
    """One probe of an event.

    event: its group and name. definition: its line in kprobe_events. enabled: whether the event is.
    pending: whether the probe waits for its module. optimized: whether its hits take no exception.
    hits: those that the event's filter let pass. nmissed: those that could not be handled. tasks: whose hits these are,
    such as comm=cat; empty for all.
    """

    event: str
    definition: str
    enabled: bool
    pending: bool
    optimized: bool
    hits: int
    nmissed: int
    tasks: str


class EventRows(tuple[EventRow, ...]):
    """The probes of the events, in the order of their definition."""


@lazy_dataclass
class EventsChanged:
    """What a text for kprobe_events, or another change, has done, and to which probes."""

    done: Literal["defined", "deleted", "enabled", "disabled"]
    events: EventRows


@lazy_dataclass
class EventFormat:
    """The text of an event's format file."""

    event: str
    text: str


@lazy_dataclass
class EventFile:
    """The text of a file of an event: "filter", "trigger" or "hist"."""

    event: str
    file: str
    text: str


@lazy_dataclass
class EventsTracing:
    """Whether hits of events are recorded, those that are enabled."""

    on: bool


@lazy_dataclass
class ProbeDefinition:
    """The line for kprobe_events of a probe."""

    definition: str


@lazy_dataclass
class PerfProbe:
    """A probe of an event, as perf probe lists it.

    event: its group and name, with a colon. place: with %return for a return. arguments: their names.
    """

    event: str
    place: str
    arguments: tuple[str, ...]


class PerfProbes(tuple[PerfProbe, ...]):
    """The probes of events, in the order of their definition."""


@lazy_dataclass
class SourceRow:
    """A line of a source: its number below the function's first line, or in the file, and where it begins.

    address: None for a line that no instruction begins with.
    """

    line: int
    text: str
    address: Hex | None


@lazy_dataclass
class SourceListing:
    """Lines of `file` from `first` on: of a function, or of the file if `function` is empty."""

    function: str
    file: str
    first: int
    rows: tuple[SourceRow, ...]


@lazy_dataclass
class FunctionVariable:
    """A parameter of a function: its type in C, and its name."""

    type: str
    name: str


@lazy_dataclass
class FunctionVariables:
    """The parameters of a function, which are known at its entry."""

    function: str
    variables: tuple[FunctionVariable, ...]


@lazy_dataclass
class SavedEvents:
    """A file with the definitions of events. `count` is the number of lines that define one."""

    file: str
    count: int
