# SPDX-License-Identifier: GPL-2.0-or-later
"""`--until PATTERN`: runs the guest until its console has printed something, and shows what it prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Final, Self

from armprobe.commands.run import run_until_printed
from armprobe.commands.terminal import Lines, complain, say
from armprobe.machine import StopReason
from armprobe.session import Session

INTERRUPTED: Final = 130  # as a shell has it for a program that Ctrl-C ended
_KEPT: Final = 1 << 20  # bytes


class Printed:
    """A context that keeps what the guest prints, the newest mebibyte at least."""

    def __init__(self, session: Session) -> None:
        self._console = session.machine.console
        self.output = bytearray()

    def __enter__(self) -> Self:
        self._console.listen(self._add)
        return self

    def __exit__(self, *exception: object) -> None:
        self._console.unlisten(self._add)

    def _add(self, data: bytes) -> None:
        self.output += data
        if len(self.output) > 2 * _KEPT:
            del self.output[:_KEPT]


@contextlib.contextmanager
def _console_shown(session: Session) -> Iterator[None]:
    """A context in which the guest's output goes to standard output."""
    lines = Lines(say)

    def show(data: bytes) -> None:
        lines.add(session.console_text.add(data), session)

    session.machine.console.listen(show)
    try:
        yield
    finally:
        session.machine.console.unlisten(show)
        lines.end()


def run_until(session: Session, pattern: str, timeout: float, printed: bytes = b"", shown: bool = True) -> int:
    """Run the guest until its console has printed `pattern`, unless `printed` has it; the exit status for that.

    The guest's output is shown meanwhile if `shown`. `timeout` is in seconds of the guest's time.

    Raises CommandError if that is over or the guest ends before, and MachineError for a pattern that is no regular
    expression.
    """
    wait = partial(run_until_printed, session, pattern, timeout, before=printed)
    with _console_shown(session) if shown else contextlib.nullcontext():
        stop = session.owner.call_interruptibly(wait)
    if stop.reason is StopReason.UNTIL:
        return 0
    complain(f"armprobe: {session.describe(stop)}")
    return INTERRUPTED if stop.reason is StopReason.INTERRUPTED else 1
