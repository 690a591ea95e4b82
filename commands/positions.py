# SPDX-License-Identifier: GPL-2.0-or-later
"""How places in time are written: `892004491`, `-1ms`, `-1000`, `boot`, `end`, `MARK`, `BRANCH`, `BRANCH:892004491`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from .declaration import Arguments, seconds
from .errors import CommandError
from .values import BranchRow, BranchRows

if TYPE_CHECKING:
    from armprobe.session import Session

_TIME: Final = re.compile(r"([+-])(\d+(?:\.\d+)?(?:ns|us|ms|s))")
_COUNT: Final = re.compile(r"([+-]?)(\d[\d,_]*)")
_MOST_NAME: Final = 100


class Instant(NamedTuple):
    """A place in time: a position in the current branch or in that named `branch`; None is its end."""

    position: int | None
    branch: str | None = None


def instant(session: Session, word: str) -> Instant:
    """What `word` names. Raises CommandError, and MachineError for a branch that is not there.

    A distance in guest time has to be looked for in the history, during which the guest goes there and comes back.
    """
    timeline = session.machine.timeline
    if marked := timeline.marked(word):
        branch, position = marked
        return Instant(position, None if branch == timeline.branch else branch)
    if word in ("boot", "start"):
        return Instant(timeline.start)
    if word == "end":
        return Instant(None)
    if time := _TIME.fullmatch(word):
        away = seconds(session, time[2])
        position = timeline.at_time(session.machine.clock.seconds + (away if time[1] == "+" else -away))
        if time[1] == "-" and position == timeline.start:
            session.remark(f"note: the history begins less than {time[2]} before this, and that is where it goes\n")
        return Instant(position)
    if count := _COUNT.fullmatch(word):
        number = int(re.sub("[,_]", "", count[2]))
        return Instant(timeline.position + (number if count[1] == "+" else -number) if count[1] else number)
    name, colon, rest = word.partition(":")
    if not colon and not re.fullmatch(r"[a-zA-Z][\w-]*", word):
        raise CommandError(f"{word!r} is no position: write a number, -1ms, -1000, boot, end, a mark or a branch")
    if not colon or rest == "end":
        return Instant(None, name)
    if rest in ("boot", "start"):
        return Instant(timeline.start, name)
    absolute = _COUNT.fullmatch(rest)
    if absolute is None or absolute[1]:
        raise CommandError(f"{word!r} is no position: after the name of a branch comes a number, boot or end")
    return Instant(int(re.sub("[,_]", "", absolute[2])), name)


def complete_position(session: Session, word: str) -> Iterable[str]:
    """The words and names that a position may be."""
    timeline = session.machine.timeline
    return ["boot", "end", *timeline.marks, *(branch.name for branch in timeline.branches)]


def check_name(name: str, what: str) -> str:
    """A name for something in time. Raises CommandError if it could be mistaken for a position."""
    if not re.fullmatch(rf"[a-zA-Z][^\s:]{{0,{_MOST_NAME - 1}}}", name) or not name.isprintable():
        raise CommandError(
            f"the name of a {what} begins with a letter, has no spaces or colons, and at most {_MOST_NAME} characters"
        )
    if name in ("boot", "start", "end"):
        raise CommandError(f"{name} is a position already: give the {what} another name")
    return name


def branches(session: Session, arguments: Arguments) -> BranchRows:
    """The command `branches`."""
    timeline = session.machine.timeline
    if arguments.delete is not None:
        timeline.drop_branch(arguments.delete)
    if arguments.name is not None:
        timeline.rename_branch(check_name(arguments.name, "branch"))
    return BranchRows(
        BranchRow(each.name, each.parent, each.fork, each.end, each.current) for each in timeline.branches
    )
