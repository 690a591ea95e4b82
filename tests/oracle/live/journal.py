# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened, in order: the hits with all registers, and what registering and calling gave."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

from armprobe.machine import Machine

Event = dict[str, int | str]
"""Its `what`, the number of its `probe`, and fields named as in the kernel."""

# Mirrors enum what, struct event and struct journal in oracle.h
COMMANDS: Final = 1 << 16  # bytes
HITS: Final = ["pre", "post", "entry", "return"]
CHANGES: Final = ["register", "unregister", "enable", "disable"]
WHAT: Final = [*HITS, *CHANGES, "call", "peek", "register_many"]
REGISTERS: Final = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]
_EVENT: Final = struct.Struct("<2Q34Q7Q8Q")
_HEAD: Final = struct.Struct("<2Q")
_EVENTS: Final = 2048
_HANDLER: Final = ["daif", "daif_after", "mdscr", "below_sp", "nmissed", "missed_returns", "nested"]
_MORE: Final = {"post": ["flags"], "return": ["ret_addr", "fp", "data"], "peek": ["word"], "register_many": ["result"]}
_CHANGE: Final = ["result", "addr", "flags", "maxactive", "opcode", "slot", "instructions", "kprobe"]

_STACK: Final = 16384  # bytes: THREAD_SIZE, and stacks are aligned to at least that

GONE: Final = 1  # KPROBE_FLAG_GONE
DISABLED: Final = 2  # KPROBE_FLAG_DISABLED
FLAGS: Final = GONE | DISABLED  # the others are the kernel's own


class Journal:
    """The module's journal, at `address` in the memory of a guest."""

    def __init__(self, guest: Machine, address: int) -> None:
        self._memory = guest.memory
        self._commands = address
        self._address = address + COMMANDS

    def command(self, text: str) -> None:
        """Leave commands for the module, one a line."""
        data = text.encode() + b"\0"
        assert len(data) <= COMMANDS
        self._memory.write(self._commands, data)

    def __len__(self) -> int:
        events, _ = _HEAD.unpack(self._memory.read(self._address, _HEAD.size))
        assert events <= _EVENTS, "the journal is full"
        return int(events)

    def read(self, first: int = 0) -> Iterator[Event]:
        """The events from number `first` on."""
        at = self._address + _HEAD.size
        for number in range(first, len(self)):
            yield _event(_EVENT.unpack(self._memory.read(at + number * _EVENT.size, _EVENT.size)))

    def sweep(self) -> list[int]:
        """What registering at each address gave."""
        _, swept = _HEAD.unpack(self._memory.read(self._address, _HEAD.size))
        at = self._address + _HEAD.size + _EVENTS * _EVENT.size
        return list(struct.unpack(f"<{swept}i", self._memory.read(at, 4 * swept)))


def _event(words: tuple[int, ...]) -> Event:
    what, probe = WHAT[words[0]], words[1]
    event: Event = {"what": what, "probe": probe}
    more = words[43:]
    if what in HITS:
        event |= dict(zip(REGISTERS, words[2:36], strict=True))
        event |= dict(zip(_HANDLER, words[36:43], strict=True))
    elif what == "call":
        return event | dict(zip([*REGISTERS[:33], "nzcv"], words[2:36], strict=True))
    elif what in CHANGES:
        event |= dict(zip(("nmissed", "missed_returns"), words[40:42], strict=True))
        event |= dict(zip(_CHANGE, more, strict=False))
        event["result"] = signed(more[0])
        event["flags"] = more[2] & FLAGS
        return event
    event |= dict(zip(_MORE.get(what, ()), more, strict=False))
    if what == "register_many":
        event["result"] = signed(more[0])
    return event


def signed(word: int) -> int:
    """An s64 of its unsigned form."""
    return word - (word >> 63 << 64)


def stages(journal: list[Event]) -> list[tuple[str, int]]:
    """The hits among the events: stage and probe of each."""
    return [(str(event["what"]), int(event["probe"])) for event in journal if event["what"] in HITS]


def the_last(journal: list[Event], what: str) -> Event:
    """The last event of that kind."""
    return next(event for event in reversed(journal) if event["what"] == what)


def _on_its_stack(value: int | str, sp: int | str | None) -> int | str:
    """Where on the kernel stack that has `sp` on it an address is: which stack a process gets is chance."""
    if isinstance(value, int) and isinstance(sp, int) and value & -_STACK == sp & -_STACK:
        return f"the stack + {value % _STACK:#x}"
    return value


def comparable(journal: list[Event]) -> list[Event]:
    """The journal without what need not be the same: where things are that are at another place here."""
    return [
        {
            field: _on_its_stack(value, event.get("sp"))
            for field, value in event.items()
            if field not in ("slot", "kprobe", "below_sp")
            # our slots are made when a probe is armed
            and not (field == "instructions" and event["flags"] == DISABLED)
        }
        for event in journal
    ]


def differences(kernel: list[Event], engine: list[Event]) -> list[str]:
    """A line for each field in which two journals differ."""
    lines: list[str] = []
    nothing: Event = {}
    for number, (real, ours) in enumerate(zip_longest(comparable(kernel), comparable(engine), fillvalue=nothing)):
        name = f"event {number}, {_name(real or ours)}"
        if _name(real) != _name(ours):
            return [*lines, f"event {number}: {_name(real)} in the kernel, {_name(ours)} here"]
        for field in real.keys() | ours.keys():
            one, other = _text(real.get(field)), _text(ours.get(field))
            if one != other:
                lines.append(f"{name}: {field} is {one} in the kernel, {other} here")
    return lines


def _name(event: Event) -> str:
    return f"{event['what']} of {event['probe']}" if event else "nothing"


def _text(value: int | str | None) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)
