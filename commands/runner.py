# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the lines of a user who may press Ctrl-C, and explains what went wrong."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from .errors import CommandError
from .parsing import Line
from .registry import Show
from .terminal import Out, OutputClosed

log = logging.getLogger("armprobe.commands")

TIME_TO_STOP = 2.0  # seconds that a command has to end after Ctrl-C, before another Ctrl-C abandons it


class Interactive(Protocol):
    """The part of a session that front ends for lines use."""

    finished: bool
    """Set by a command to have the front end leave."""

    def perform(self, line: Line, show: Show, remark: Out) -> object:
        """Run a line, on whichever thread may do it, and return its value when that is done. Raises `CommandError`.

        `show` is given the value or, as they come, its parts; `remark` text that is no part of it.
        """

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""

    def complete_like(self, line: str) -> list[str]:
        """Candidates that have the letters of the last word of `line` in their order, the nearest first."""

    def status(self) -> str:
        """One line for below the prompt: what the guest is and does. Called often, so it must not wait."""

    def interrupt(self) -> None:
        """Stop what runs, soon; harmless when nothing does. Called from another thread than the command's."""

    def on_notice(self, notice: Callable[[str], None]) -> None:
        """Call `notice`, from any thread, with text the user should see that is no command's output. It may end
        within a line, which the next goes on with."""


class Outcome(NamedTuple):
    """The result of a line: its value, and the error; None if it succeeded."""

    value: object
    error: CommandError | None = None


class Runner:
    """Runs lines, one after another."""

    def __init__(self, session: Interactive) -> None:
        self._session = session
        self.interrupted = False
        """Ctrl-C was pressed while the last line ran."""

    def run(self, line: Line, show: Show, remark: Out) -> Outcome:
        """Run one line; see `Interactive.perform`. Raises OutputClosed."""
        self.interrupted = False
        try:
            with self._interruptible():
                return Outcome(self._session.perform(line, show, remark))
        except CommandError as error:
            return Outcome(error.value, error)
        except KeyboardInterrupt:
            return Outcome(None, CommandError("it did not stop when asked to, and may go on unseen"))
        except OutputClosed:
            raise
        except Exception as error:
            log.debug("%r failed", line, exc_info=True)
            return Outcome(None, CommandError(f"this is a defect in armprobe: {type(error).__name__}: {error}"))

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Have Ctrl-C interrupt the session. Pressed again after a while, it abandons the command.

        Impatient users press several times at once, while the command is about to end and may print more.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are not for this thread
            return

        first = 0.0

        def on_signal(number: int, frame: Any) -> None:
            nonlocal first
            if not self.interrupted:
                first = time.monotonic()
            elif time.monotonic() - first >= TIME_TO_STOP:
                raise KeyboardInterrupt
            self.interrupted = True
            # On a thread of its own: this one may hold, just now, a lock that interrupt() takes.
            threading.Thread(target=self._session.interrupt, daemon=True).start()

        before = signal.signal(signal.SIGINT, on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
