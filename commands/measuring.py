# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the guest for a command that counts: for some time, while a command of the guest's runs, or until Ctrl-C.

Meanwhile a terminal shows what was counted so far.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from armprobe.machine import Stop, StopReason

from .declaration import Arguments, Clause, Option, integer
from .errors import CommandError
from .guest_time import run_for
from .render.live import Live
from .stops import stopped

if TYPE_CHECKING:
    from armprobe.session import Session

T = TypeVar("T")
_REFRESH: Final = 0.25  # seconds
_MOST_SECONDS: Final = 1_000_000.0
_ENDS: Final = StopReason.INSTRUCTIONS, StopReason.IDLE, StopReason.INTERRUPTED


def seconds(session: object, word: str) -> float:
    """A number of seconds. Raises `CommandError`."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0 < number <= _MOST_SECONDS:
        raise CommandError(f"{word!r} is no time: give seconds of the guest's time, such as 0.5")
    return number


RUN: Final = (
    Option("seconds", "run the guest for so many seconds of its time, and show the result", type=seconds),
    Option("instructions", "run the guest for so many instructions, and show the result", type=integer),
    Option("live", "yes: run the guest until Ctrl-C, and show the result", choices=("yes",)),
)
WHILE: Final = Clause(
    "while",
    "command",
    "run a command by the guest's shell, to the end of the line, and show the result",
    last=True,
    foreign=True,
)
"""With `RUN` the arguments of a command that counts, by which it runs the guest and ends the counting. Without one of
them it returns at once, and the counting goes on."""
_WAYS: Final = tuple(each.name for each in (*RUN, WHILE))


def runs(arguments: Arguments) -> bool:
    """Whether the arguments say how to run the guest."""
    return any(getattr(arguments, name) is not None for name in _WAYS)


def measured(session: Session, arguments: Arguments, found: Callable[[], T], end: Callable[[], None]) -> T:
    """Run the guest as the arguments say, and return what was `found`. `end` is called in any case.

    Raises CommandError, with what was found if the guest has run.
    """
    if sum(getattr(arguments, name) is not None for name in _WAYS) > 1:
        end()
        raise CommandError("give one of seconds=, instructions=, live= and while")
    try:
        with _refreshed(session, found):
            error = _run(session, arguments)
        answer = found()
    finally:
        end()
    if error is not None:
        raise CommandError(str(error), answer)
    return answer


@contextlib.contextmanager
def _refreshed(session: Session, found: Callable[[], object]) -> Iterator[None]:
    """Have a terminal show what is found, again and again."""
    due = time.monotonic() + _REFRESH

    def look() -> None:
        nonlocal due
        if time.monotonic() >= due:
            session.show_part(Live(found))
            due = time.monotonic() + _REFRESH

    session.machine.scheduler.before_slice.append(look)
    try:
        yield
    finally:
        session.machine.scheduler.before_slice.remove(look)


def _run(session: Session, arguments: Arguments) -> CommandError | None:
    """Run the guest; what has kept it from running to the end."""
    if arguments.command is not None:
        return _run_command(session, arguments.command)
    machine = session.machine
    stop: Stop | None
    if arguments.instructions is not None:
        if arguments.instructions < 1:
            raise CommandError("instructions= takes a count of at least 1")
        stop = session.go(lambda: machine.run(instructions=arguments.instructions), waits=False)
    elif arguments.seconds is not None:
        stop = run_for(session, arguments.seconds)
    else:
        stop = session.go(machine.run)
    if stop is not None and stop.reason not in _ENDS:
        session.remark(f"{stopped(session, stop).text}: the counting ends here\n")
    return None


def _run_command(session: Session, command: str) -> CommandError | None:
    try:
        done = session.guest.sh(command)
    except CommandError as error:
        return error
    for text in (done.out, done.err):
        if text:
            session.remark(text)
    if done.status:
        session.remark(f"warning: the command has ended with status {done.status}\n")
    return None
