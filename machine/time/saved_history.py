# SPDX-License-Identifier: GPL-2.0-or-later
"""A timeline's history in the form in which a file holds it, and how the timeline of another machine takes it over.

The checkpoints are those of the current branch, each as the pages in which it differs from the one before. The first
differs so from the state that the file has besides. Handlers of probes are functions, which no file holds: what they
changed in the guest is kept as that of handlers whose probes are gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.state import Values

from .branches import History
from .history import Event, EventLog, Marker
from .kept import Kept, KeptStates

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

    from .timeline import Timeline

MOST_STATES: Final = 4096
"""The most checkpoints that a file holds. Of more than that, it holds every second one, or every third, and so on."""


@lazy_dataclass
class SavedState:
    """A checkpoint: the parts of the state that differ from those of the one before, and the numbers of such pages."""

    position: int
    events: int
    interrupts: bool
    parts: Values
    pages: Sequence[int]


@lazy_dataclass
class SavedBranch:
    """A branch, with the events that the current branch does not have.

    It begins with the first `common` events and the first `states` checkpoints of the current branch.
    """

    name: str
    parent: str | None
    fork: int
    end: int
    end_time: int
    marks: dict[str, int]
    common: int
    states: int
    events: Sequence[Event]


@lazy_dataclass
class SavedHistory:
    """A history. The current branch is the first of `branches`, the others are in the order in which they were left.

    `cursor`, `interrupts` and `live` are those of the timeline and its replay, `shortened` is whether the oldest part
    was dropped before.
    """

    branches: Sequence[SavedBranch]
    states: Sequence[SavedState]
    cursor: int
    interrupts: bool
    live: bool
    shortened: bool


# Taking it from a timeline


def saved_history(timeline: Timeline, machine: Machine, present: Values, pages: BinaryIO) -> SavedHistory:
    """The history of a machine whose state is `present`. Writes the pages of all checkpoints to `pages`.

    Raises MachineError if the machine keeps no history, in a call from outside, and if no checkpoint can be saved.
    """
    if not timeline.enabled:
        raise MachineError("this machine keeps no history (--no-history): save it without (history=no)")
    current = timeline.tree.current
    if current.log.open:
        raise MachineError(
            "the guest is in a call from outside: save its history when that has returned, or none (history=no)"
        )
    if timeline.live:
        current.end, current.end_time = timeline.position, machine.clock.now
    cursor = len(current.log.events) if timeline.live else timeline.replay.cursor
    kept, states = _states(timeline, machine, present, pages)
    if not kept or kept[0].events > cursor or kept[0].position > timeline.position:
        raise MachineError("calls of the past have yet to return through a trampoline: save without them (history=no)")
    dropped = kept[0].events
    return SavedHistory(
        [_branch(each, current, kept) for each in timeline.tree.all() if _shared(each, kept)],
        [replace(state, events=state.events - dropped) for state in states],
        cursor - dropped,
        timeline.replay.interrupts,
        timeline.live,
        timeline.shortened or kept[0] is not current.kept.first,
    )


def _states(
    timeline: Timeline, machine: Machine, present: Values, pages: BinaryIO
) -> tuple[list[Kept], list[SavedState]]:
    """The checkpoints of the current branch that a file can hold."""
    checkpoints, kept, states = machine.checkpoints, [], []
    every = -(-len(timeline.tree.current.kept) // MOST_STATES)
    with machine.unnoticed(), timeline.diversion() as begin:
        before, parts_before = begin, present
        for each in list(timeline.tree.current.kept)[::every]:
            timeline.restore_kept(each)
            with contextlib.suppress(MachineError):  # there are calls that nobody would wait for
                parts = machine.state.save_for_file()
                here = checkpoints.take()
                numbers = []
                for number, _, content in checkpoints.differing_pages(before):
                    numbers.append(number)
                    pages.write(content)
                changed = {name: part for name, part in parts.items() if part != parts_before[name]}
                states.append(SavedState(each.position, each.events, each.interrupts, changed, numbers))
                kept.append(each)
                if before is not begin:
                    checkpoints.drop(before)
                before, parts_before = here, parts
        if before is not begin:
            checkpoints.drop(before)
    return kept, states


def _branch(history: History, current: History, kept: Sequence[Kept]) -> SavedBranch:
    dropped, events = kept[0].events, history.log.events
    common = len(events) if history is current else history.log.common(current.log)
    own = events[dropped:] if history is current else events[common:]
    begins = kept[0].position
    return SavedBranch(
        history.name,
        history.parent,
        history.fork,
        history.end,
        history.end_time,
        {name: at for name, at in history.marks.items() if at >= begins},
        0 if history is current else common - dropped,
        _shared(history, kept),
        [_without_function(event) for event in own],
    )


def _shared(history: History, kept: Sequence[Kept]) -> int:
    """How many of `kept`, from the first on, a branch has too."""
    theirs = {id(each.checkpoint) for each in history.kept}
    return next((count for count, each in enumerate(kept) if id(each.checkpoint) not in theirs), len(kept))


def _without_function(event: Event) -> Event:
    match event.kind:
        case Marker.HANDLER:
            return event._replace(where="", value=None)
        case Marker.HANDLER_END:
            return event._replace(value=None)  # what a probe that is gone would have returned
    return event


# Giving it to a timeline


class _Gone:
    """Stands for a probe that was in another process."""

    registered = False


_GONE: Final = _Gone()


def misfit(machine: Machine, saved: SavedHistory, present: Values) -> str:
    """The first field with a value that does not fit the machine, whose saved state is `present`; "" if all do."""
    parts = present
    for state in saved.states:
        if wrong := machine.state.misfit_of_parts(state.parts):
            return wrong
        parts = parts | state.parts
        if parts["clock"]["instructions"] != state.position:
            return "clock"
        if not all(map(machine.checkpoints.has_page, state.pages)):
            return "pages"
    return ""


def adopt(
    timeline: Timeline, machine: Machine, saved: SavedHistory, present: Values, page: Callable[[int], bytes]
) -> None:
    """Make `saved`, which fits, the history of a machine whose saved state is `present` and was put in place last.

    `page` gives the pages of the checkpoints, by their index in the order there. Raises MachineError if a disk is full.
    """
    kept, parts, index = [], present, 0
    checkpoint = machine.checkpoints.newest
    for state in saved.states:
        pages = {number: page(at) for at, number in enumerate(state.pages, index)}
        index, parts = index + len(state.pages), parts | state.parts
        checkpoint = machine.checkpoints.adopt(checkpoint, state.position, parts, pages)
        kept.append(Kept(state.position, state.events, state.interrupts, checkpoint))
    first, *others = saved.branches
    current = _history(first, EventLog(), kept)
    timeline.live, timeline.shortened = saved.live, saved.shortened
    timeline.replay.cursor, timeline.replay.interrupts = saved.cursor, saved.interrupts
    timeline.adopt(current, (_history(each, current.log.up_to(each.common), kept) for each in reversed(others)))


def _history(saved: SavedBranch, log: EventLog, kept: Sequence[Kept]) -> History:
    log.append_saved(event._replace(value=_GONE) if event.kind is Marker.HANDLER else event for event in saved.events)
    states = KeptStates([replace(each) for each in kept[: saved.states]])
    return History(saved.name, saved.parent, saved.fork, log, states, dict(saved.marks), saved.end, saved.end_time)
