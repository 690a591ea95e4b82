# SPDX-License-Identifier: GPL-2.0-or-later
"""The history in a snapshot file: sections that are empty in a file without one.

    history       the branches, and where in them the machine is: JSON
    events        what has entered from outside, of one branch after the other
    checkpoints   those of the current branch
    pages         the contents of their pages

An event is a head with its position, its time, its kind, and the sizes of what follows: its place and value as JSON,
and bytes if the value is bytes. A checkpoint is a head with its position, the number of events before it, whether
interrupts are taken, and the sizes of what follows: the parts of the state in JSON, and the numbers of pages.

As the rest of the file, this is not trusted. What an event does is checked again where it enters.
"""

from __future__ import annotations

import itertools
import json
import struct
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from armprobe.machine.devices.devices import MOST_STATE
from armprobe.machine.devices.gic import LINES
from armprobe.machine.field_checks import (
    U63,
    U64,
    Check,
    boolean,
    integer,
    misfit,
    optional,
    record,
    row,
    several,
    text,
)
from armprobe.machine.input import InputKind
from armprobe.machine.time.branches import MOST_BRANCHES
from armprobe.machine.time.history import Event, Marker, size_of
from armprobe.machine.time.saved_history import MOST_STATES, SavedBranch, SavedHistory, SavedState

_EVENT: Final = struct.Struct("<QQB3xII")
_STATE: Final = struct.Struct("<QQB3xII")
_MOST_BODY: Final = 1 << 19  # bytes of JSON, which take some twenty times as much memory when they are read
_MOST_PARTS: Final = 2 << 20
_MOST_EVENTS: Final = 1 << 26
_MOST_MARKS: Final = 1000
_SIGNED: Check = lambda value: type(value) is int and -(1 << 63) <= value < U64  # noqa: E731
_NAME: Check = lambda value: text(100)(value) and value.isprintable()  # noqa: E731
_NOTHING: Check = lambda value: value == ""  # noqa: E731
_NO_VALUE: Check = lambda value: value is None  # noqa: E731
_BYTES: Final[Check] = lambda value: isinstance(value, bytes)  # noqa: E731


class DamagedHistory(Exception):
    """A history has a field, whose name this is, with an invalid value."""


class _Form(NamedTuple):
    """The checks of the place and the value of a kind of event."""

    kind: InputKind | Marker
    where: Check
    value: Check


_FORMS: Final = (  # the index is the number in files
    _Form(InputKind.CONSOLE, _NOTHING, _BYTES),
    _Form(InputKind.REGISTER, text(20), integer(1 << 128)),
    _Form(InputKind.MEMORY, integer(U64), _BYTES),
    _Form(InputKind.PHYSICAL, integer(U64), _BYTES),
    _Form(InputKind.OWN, integer(U64), _BYTES),
    _Form(InputKind.DEVICE, text(31), row(lambda value: _is_state(value), optional(integer(U63)))),
    _Form(InputKind.LINE, integer(LINES), boolean),
    _Form(InputKind.TIME, _NOTHING, integer(U63)),
    _Form(InputKind.CALL, integer(U64), several(_SIGNED, 8)),
    _Form(InputKind.ANSWER, _NOTHING, row(_SIGNED, _SIGNED)),
    _Form(InputKind.HANDLER, text(20), integer(U64)),
    _Form(Marker.HANDLER, _NOTHING, _NO_VALUE),
    _Form(Marker.HANDLER_END, _NOTHING, _NO_VALUE),
    _Form(Marker.CALL_END, _NOTHING, boolean),
    _Form(Marker.MODE, _NOTHING, boolean),
)
_NUMBERS: Final = {form.kind: number for number, form in enumerate(_FORMS)}
_ENDS: Final = {Marker.HANDLER: Marker.HANDLER_END, InputKind.CALL: Marker.CALL_END}
_BRANCH: Final = {
    "name": _NAME,
    "parent": optional(_NAME),
    "fork": integer(U63),
    "end": integer(U63),
    "end_time": integer(U63),
    "marks": several(row(_NAME, integer(U63)), _MOST_MARKS),
    "common": integer(_MOST_EVENTS),
    "states": integer(MOST_STATES + 1),
    "events": integer(_MOST_EVENTS),
}
_FIELDS: Final = {
    "branches": several(record(_BRANCH), MOST_BRANCHES + 1, 1),
    "states": integer(MOST_STATES + 1),
    "cursor": integer(_MOST_EVENTS),
    "interrupts": boolean,
    "live": boolean,
    "shortened": boolean,
}


def _is_state(value: Any) -> bool:
    """Whether it is the state of a device: JSON of an object."""
    if not isinstance(value, str) or len(value) > MOST_STATE:
        return False
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


# Writing


class Encoded(NamedTuple):
    """The sections of a history, apart from the pages."""

    history: bytes
    events: bytes
    checkpoints: bytes


def encoded(saved: SavedHistory) -> Encoded:
    """The sections that hold a history. Raises DamagedHistory for what a file does not hold."""
    index = {
        "branches": [
            {
                **{name: getattr(each, name) for name in ("name", "parent", "fork", "end", "end_time")},
                "marks": [list(mark) for mark in each.marks.items()],
                "common": each.common,
                "states": each.states,
                "events": len(each.events),
            }
            for each in saved.branches
        ],
        "states": len(saved.states),
        **{name: getattr(saved, name) for name in ("cursor", "interrupts", "live", "shortened")},
    }
    if wrong := misfit(index, _FIELDS):
        raise DamagedHistory(wrong)
    events = b"".join(_event(event) for branch in saved.branches for event in branch.events)
    return Encoded(json.dumps(index).encode(), events, b"".join(map(_state, saved.states)))


def _event(event: Event) -> bytes:
    number = _NUMBERS[event.kind]
    data = event.value if isinstance(event.value, bytes) else b""
    value = None if _FORMS[number].value is _BYTES else event.value
    body = json.dumps([event.where, value]).encode()
    return _EVENT.pack(event.position, event.time, number, len(body), len(data)) + body + data


def _state(state: SavedState) -> bytes:
    body = json.dumps(state.parts).encode()
    head = _STATE.pack(state.position, state.events, state.interrupts, len(body), len(state.pages))
    return head + body + struct.pack(f"<{len(state.pages)}Q", *state.pages)


# Reading


def decoded(sections: Encoded, position: int, most: int) -> SavedHistory:
    """The history in the sections of a file whose machine is at `position`. Events may take `most` bytes of memory.

    Raises DamagedHistory, and OverflowError for events that take more.
    """
    index = _json(sections.history, "history")
    if wrong := misfit(index, _FIELDS):
        raise DamagedHistory(wrong)
    found, branches = _events(sections.events, most), []
    for each in index["branches"]:
        events = list(itertools.islice(found, each["events"]))
        if len(events) != each["events"]:
            raise DamagedHistory("events")
        branches.append(SavedBranch(**{**each, "marks": dict(each["marks"]), "events": events}))
    if next(found, None) is not None:
        raise DamagedHistory("events")
    states = _states(sections.checkpoints, index["states"])
    saved = SavedHistory(**{**index, "branches": branches, "states": states})
    if wrong := _contradiction(saved, position):
        raise DamagedHistory(wrong)
    return saved


def _contradiction(saved: SavedHistory, position: int) -> str:
    """The first part of a history that does not fit the others, "" if there is none."""
    (current, *others), states = saved.branches, saved.states
    ordered = all(one.position <= two.position and one.events <= two.events for one, two in pairwise(states))
    if not states or states[0].events or not ordered or states[-1].events > len(current.events):
        return "checkpoints"
    if not states[0].position <= position <= current.end or (saved.live and position != current.end):
        return "end"
    if saved.cursor > len(current.events) or (saved.live and saved.cursor != len(current.events)):
        return "cursor"
    names = {branch.name for branch in saved.branches}
    if len(names) != len(saved.branches) or current.common or current.states != len(states):
        return "branches"
    for branch in others:
        within = 1 <= branch.states <= len(states) and branch.common <= len(current.events)
        if not within or branch.fork > branch.end or states[branch.states - 1].events > branch.common:
            return "branches"
    parted = {*(state.events for state in states), *(branch.common for branch in others), saved.cursor}
    nested = _nested(current.events, parted) and all(_nested(branch.events, ()) for branch in others)
    return "" if nested else "events"


def _nested(events: Sequence[Event], parted: Collection[int]) -> bool:
    """Whether all that begins ends, one within the other, and nothing that has begun is parted at these indices."""
    ends: list[Marker] = []
    for index, event in enumerate(events):
        if ends and index in parted:
            return False
        if event.kind in _ENDS:
            ends.append(_ENDS[event.kind])
        elif event.kind in _ENDS.values() and (not ends or ends.pop() is not event.kind):
            return False
    return not ends


def _events(data: bytes, most: int) -> Iterator[Event]:
    at = size = 0
    while at < len(data):
        event, at = _decoded_event(data, at)
        size += size_of(event)
        if size > most:
            raise OverflowError
        yield event


def _decoded_event(data: bytes, at: int) -> tuple[Event, int]:
    """The event at an offset, and the offset of its end."""
    begin = at + _EVENT.size
    if begin > len(data):
        raise DamagedHistory("events")
    position, time, number, length, count = _EVENT.unpack_from(data, at)
    end = begin + length + count
    if number >= len(_FORMS) or length > _MOST_BODY or end > len(data) or max(position, time) >= U63:
        raise DamagedHistory("events")
    kind, fits_where, fits_value = _FORMS[number]
    body = _json(data[begin : begin + length], "events")
    if not isinstance(body, list) or len(body) != 2:
        raise DamagedHistory("events")
    where, value = body
    if fits_value is _BYTES:
        value = None if value is not None else data[end - count : end]
    elif count:
        raise DamagedHistory("events")
    if not fits_where(where) or not fits_value(value):
        raise DamagedHistory("events")
    return Event(position, time, kind, where, tuple(value) if kind is InputKind.CALL else value), end


def _states(data: bytes, count: int) -> list[SavedState]:
    states, at = [], 0
    for _ in range(count):
        begin = at + _STATE.size
        if begin > len(data):
            raise DamagedHistory("checkpoints")
        position, events, interrupts, length, pages = _STATE.unpack_from(data, at)
        at = begin + length + 8 * pages
        if length > _MOST_PARTS or at > len(data) or interrupts > 1 or position >= U63:
            raise DamagedHistory("checkpoints")
        parts = _json(data[begin : begin + length], "checkpoints")
        if not isinstance(parts, dict):
            raise DamagedHistory("checkpoints")
        numbers = array("Q", data[begin + length : at])
        states.append(SavedState(position, events, bool(interrupts), parts, numbers))
    if at != len(data):
        raise DamagedHistory("checkpoints")
    return states


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedHistory(name) from None
