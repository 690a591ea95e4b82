# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that go back in the history of the guest, and forward again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason
from armprobe.machine.time.search import RegisterChange, Write

from .declaration import Arg, Arguments, Command, Option, integer
from .errors import CommandError
from .locations import complete_symbol, location
from .named_memory import MOST, named_memory
from .positions import branches, check_name, complete_position, instant
from .stack import stack_frames
from .stepping import stepped
from .stops import require_stopped
from .values import (
    LastChange,
    LastWrite,
    Location,
    MarkRow,
    MarkRows,
    NeverChanged,
    NeverWritten,
    StackFrame,
    Stepped,
    When,
)

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Going back"
_REGISTER: Final = re.compile(r"\$(\w+)")
_MOST_MARKS: Final = 1000


def _when(session: Session) -> When:
    machine, timeline = session.machine, session.machine.timeline
    place_now = location(session, machine.registers.pc)
    branch = timeline.branch if len(timeline.branches) > 1 else None
    reach = timeline.start, timeline.end, timeline.live
    return When(timeline.position, machine.clock.seconds, place_now, *reach, branch)


def _show_when(session: Session, arguments: Arguments) -> When:
    return _when(session)


def _goto(session: Session, arguments: Arguments) -> When:
    require_stopped(session)
    with session.owner.interruptible():
        session.machine.timeline.go(*instant(session, arguments.position))
    session.stop = Stop(StopReason.INSTRUCTIONS, session.machine.registers.pc)
    return _when(session)


def _mark(session: Session, arguments: Arguments) -> MarkRow | MarkRows:
    timeline, name = session.machine.timeline, arguments.name
    if name is None:
        return MarkRows(MarkRow(*row) for row in sorted(timeline.marks.items(), key=lambda row: row[1]))
    check_name(name, "mark")
    if len(timeline.marks) >= _MOST_MARKS and name not in timeline.marks:
        raise CommandError(f"there are {_MOST_MARKS} marks, which is as many as there can be")
    timeline.marks[name] = timeline.position
    return MarkRow(name, timeline.position)


def _complete_branch(session: Session, word: str) -> Iterable[str]:
    return [branch.name for branch in session.machine.timeline.branches if not branch.current]


def _reverse_step(session: Session, arguments: Arguments) -> Stepped:
    if arguments.count < 1:
        raise CommandError("reverse-stepi takes a count of at least 1")
    machine = session.machine

    def back() -> Stop:
        first = machine.timeline.position == machine.timeline.start
        machine.timeline.reverse_step(arguments.count)
        return Stop(StopReason.HISTORY_START if first else StopReason.INSTRUCTIONS, machine.registers.pc)

    return stepped(session, session.go(back, waits=False))


def _last_write(session: Session, arguments: Arguments) -> LastWrite | NeverWritten | LastChange | NeverChanged:
    named = _REGISTER.fullmatch(arguments.address)
    if named is not None and arguments.size is None:
        return _change(session, named[1])
    return _write(session, arguments, session.machine.timeline.last_write)


def _first_write(session: Session, arguments: Arguments) -> LastWrite | NeverWritten:
    return _write(session, arguments, session.machine.timeline.first_write)


def _change(session: Session, register: str) -> LastChange | NeverChanged:
    require_stopped(session)
    with session.owner.interruptible():
        found = session.machine.timeline.last_change(register)
        if found is None:
            return NeverChanged(register, session.machine.timeline.start)
        by, frames, end = _at(session, found)
    return LastChange(found.position, by, register, found.before, found.value, frames, end)


def _at(session: Session, found: Write | RegisterChange) -> tuple[Location | None, tuple[StackFrame, ...], str]:
    """The place of an instruction of the past, the stack that the guest had there, and why that ends."""
    if found.pc is None:
        return None, (), ""
    timeline = session.machine.timeline
    with timeline.excursion():
        timeline.replay_from_before(found.position)
        stack = session.kprobes.backtrace()
        return location(session, found.pc), stack_frames(session, stack), stack.end


def _write(
    session: Session, arguments: Arguments, find: Callable[[int, int], Write | None]
) -> LastWrite | NeverWritten:
    """The write that `find` finds, with the stack that the guest had there."""
    require_stopped(session)
    address, size = named_memory(session, arguments.address, arguments.size)
    if not 1 <= size <= MOST:
        raise CommandError(f"last-write and first-write look at 1 to {MOST} bytes")
    with session.owner.interruptible():
        found = find(address, size)
        if found is None:
            return NeverWritten(address, size, session.machine.timeline.start)
        by, frames, end = _at(session, found)
    return LastWrite(found.position, by, found.address, found.size, found.value, frames, end)


_MEMORY: Final = (
    Arg("address", "SYMBOL, address, $REGISTER, or in C: list->next", complete=complete_symbol),
    Arg("size", "bytes (default: those of what is there, or 8)", type=integer, optional=True),
)

COMMANDS = (
    Command(
        "goto",
        "Go to a position of the guest's history: an exact instruction, of the past or of the future that was left.\n"
        "A position is a count of the guest's instructions since reset. -1000 is a thousand instructions back, -1ms a\n"
        "millisecond of guest time; boot is the beginning of the history, end its end. The name of a mark is its\n"
        "position, that of a branch its end, and branch-1:892004491 is a position in a branch. See branches.",
        (Arg("position", "number, -1000, -1ms, boot, end, a mark or a branch", complete=complete_position),),
        _goto,
        group=GROUP,
        gdb="guest-goto",  # gdb has goto-bookmark
        changes_state=True,
    ),
    Command(
        "mark",
        "Give the present position a NAME, for goto. Without one, list the marks.",
        (Arg("name", "name of the mark", optional=True),),
        _mark,
        group=GROUP,
    ),
    Command(
        "branches",
        "List the branches of the history.\n"
        "Writing to the guest in the past begins one, and what came after stays in the branch that is left.\n"
        "goto NAME goes to the end of a branch. name= renames the one that the guest is in, delete= forgets one.\n"
        "When the history takes too much memory (--history-memory), those left first go first.",
        (
            Option("name", "new name for the branch that the guest is in"),
            Option("delete", "name of a branch to delete", complete=_complete_branch),
        ),
        branches,
        aliases=("timelines",),
        group=GROUP,
    ),
    Command(
        "when",
        "Show where the guest is in its history: the position, and the guest time.",
        (),
        _show_when,
        group=GROUP,
    ),
    Command(
        "reverse-stepi",
        "Go back by one instruction, or COUNT.",
        (Arg("count", "number of instructions", type=integer, optional=True, default=1),),
        _reverse_step,
        aliases=("rsi",),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "last-write",
        "Show which instruction wrote to memory last, before the present position, and its callers.\n"
        "The address is translated now, and a write through any other mapping of that memory counts. last-write $x19,\n"
        "without a size, shows which instruction changed the register; last-write $x19 8 is about the memory there.",
        _MEMORY,
        _last_write,
        group=GROUP,
    ),
    Command(
        "first-write",
        "Show which instruction wrote to memory first in the history, up to the present position. See last-write.",
        _MEMORY,
        _first_write,
        group=GROUP,
    ),
)
