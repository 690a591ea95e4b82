# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs and completes command lines for a session: every front end reaches the commands through it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from armprobe.machine import MachineError
from armprobe.probes import ProbeError
from armprobe.session.authority import Asker, acting_for

from .catalog import registry as all_commands
from .catalog import with_plugins
from .errors import CommandError
from .parsing import Line
from .registry import Show
from .render.errors import error_text
from .render.json import as_json_line
from .render.text import as_text
from .scripting import run_line

if TYPE_CHECKING:
    from armprobe.session import Session
    from armprobe.stub import Place


class Shell:
    """The commands of a session. Its methods may be called from any thread, except where they say otherwise.

    A command line is a string that is split as a shell does, or a list of words that are taken as they are.
    """

    def __init__(self, session: Session) -> None:
        self.registry, self.notes = with_plugins(all_commands())
        """The commands, and a sentence for each of another package that cannot be used."""
        self._session = session

    def run(self, line: Line) -> str:
        """Run one command line and return what it prints. Raises CommandError, one clear sentence, when it fails."""
        printed: list[str] = []
        self.execute(line, printed.append)
        return "".join(printed)

    def execute(self, line: Line, out: Callable[[str], None]) -> None:
        """Like `run`, but hands the output to `out` piece by piece."""
        self.perform(line, _printing(out), out)

    def ask(self, line: Line) -> Any:
        """Run one command line and return its value, one of `commands.values`; None for a blank line or a comment.

        Remarks beside the answer are notices (`Session.on_notice`). Raises CommandError, as `run` does.
        """
        return self.perform(line, lambda value: None, self._session.notify)

    def perform(self, line: Line, show: Show, remark: Callable[[str], None]) -> Any:
        """Run one command line and return its value. `show` is given the value or, as they come, its parts.

        Ctrl-C, or anything else that a signal handler raises during the wait, stops the guest that the command runs.
        """
        return self._session.owner.call_interruptibly(self._perform, Asker.LOCAL, line, show, remark)

    def execute_for(self, asker: Asker, line: str, out: Callable[[str], None]) -> bool:
        """Like `execute`, with what `asker` may do, and `out` also takes the error. Returns whether the line succeeded.

        For the owner's thread.
        """
        try:
            self._perform(asker, line, _printing(out), out)
        except CommandError as error:
            out(error_text(error))
            return False
        return True

    def json_for(self, asker: Asker, line: str) -> str:
        """The answer to a line, or its error, as --json has it, with what `asker` may do. For the owner's thread."""
        try:
            value, error = self._perform(asker, line, lambda value: None, self._session.notify), ""
        except CommandError as refusal:
            value, error = refusal.value, str(refusal)
        return as_json_line(line, value, error)

    def debugger_context(self) -> str:
        """What is around the stop, if debuggers are to show it; else empty. For the owner's thread."""
        from .context import wanted_context

        with acting_for(Asker.TRUSTED):
            shown = wanted_context(self._session)
        return "" if shown is None else as_text(shown)

    def _perform(self, asker: Asker, line: Line, show: Show, remark: Callable[[str], None]) -> Any:
        session = self._session
        try:
            with session.remarks_to(remark), session.parts_to(show), session.owner.interruptible(), acting_for(asker):
                return run_line(session, line, show)
        except (MachineError, ProbeError) as error:
            raise CommandError(str(error)) from error

    def complete(self, line: str, like: bool = False) -> list[str]:
        """Candidates for the last word of `line`; with `like` see `Registry.complete`."""
        return self._session.owner.call_briefly(self.registry.complete, self._session, line, like)

    def place(self, word: str) -> Place | None:
        """The place that `word` names in a command; None if it names none. For the owner's thread."""
        from .locations import located

        with contextlib.suppress(CommandError, MachineError):
            return located(self._session, word)
        return None

    def table(self) -> str:
        """The commands as JSON, for the gdb-side proxy."""
        return self.registry.table()


def _printing(out: Callable[[str], None]) -> Show:
    return lambda value: out(as_text(value))
