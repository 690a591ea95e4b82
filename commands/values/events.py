# SPDX-License-Identifier: GPL-2.0-or-later
"""Events, as in the kernel's kprobe_events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EventRow:
    """One probe of an event.

    event: its group and name. definition: its line in kprobe_events. enabled: whether the event is.
    pending: whether the probe waits for its module. optimized: whether its hits take no exception.
    hits: those that the event's filter let pass. nmissed: those that could not be handled.
    """

    event: str
    definition: str
    enabled: bool
    pending: bool
    optimized: bool
    hits: int
    nmissed: int


class EventRows(tuple[EventRow, ...]):
    """The probes of the events, in the order of their definition."""


@dataclass(frozen=True)
class EventsChanged:
    """What a text for kprobe_events, or another change, has done, and to which probes."""

    done: Literal["defined", "deleted", "enabled", "disabled"]
    events: EventRows


@dataclass(frozen=True)
class EventFormat:
    """The text of an event's format file."""

    event: str
    text: str


@dataclass(frozen=True)
class EventFile:
    """The text of a file of an event: "filter", "trigger" or "hist"."""

    event: str
    file: str
    text: str


@dataclass(frozen=True)
class EventsTracing:
    """Whether hits of events are recorded, those that are enabled."""

    on: bool


@dataclass(frozen=True)
class SavedEvents:
    """A file with the definitions of events. `count` is the number of lines that define one."""

    file: str
    count: int
