# SPDX-License-Identifier: GPL-2.0-or-later
"""Tab at the prompt: inserts what all candidates have in common, or lists them above the line."""

import cmd
import io
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, get_common_complete_suffix
from prompt_toolkit.document import Document
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent

from .parsing import split_for_completion

LISTED: Final = 200  # gdb's `max-completions`


class Completes(Protocol):
    """The part of a session that completion uses."""

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""


class SessionCompleter(Completer):
    """Has the session complete the line."""

    def __init__(self, session: Completes) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        line = document.text_before_cursor
        start = split_for_completion(line)[-1].start - len(line)
        for candidate in self._session.complete(line):
            yield Completion(candidate, start_position=start)


def tab_binding(completer: Completer, write: Callable[[str], None]) -> KeyBindings:
    """The binding of Tab; `write` shows text above the line.

    prompt_toolkit's own, for `CompleteStyle.READLINE_LIKE`, asks "Display all ... possibilities?" in a prompt within
    the prompt, which Ctrl-C and Ctrl-D end with an exception that nothing takes (3.0.53). This asks nothing.
    """
    bindings = KeyBindings()

    @bindings.add("tab")
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        candidates = list(completer.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        if len(candidates) == 1:
            buffer.delete_before_cursor(-candidates[0].start_position)
            buffer.insert_text(candidates[0].text)
        elif suffix := get_common_complete_suffix(buffer.document, candidates):
            buffer.insert_text(suffix)
        elif candidates:
            width = event.app.output.get_size().columns
            run_in_terminal(lambda: write(_listing([each.text for each in candidates], width)))

    return bindings


def _listing(candidates: list[str], width: int) -> str:
    """The candidates in columns, column by column."""
    out = io.StringIO()
    cmd.Cmd(stdout=out).columnize(candidates[:LISTED], displaywidth=width)
    if len(candidates) > LISTED:
        out.write(f"... and {len(candidates) - LISTED:,} more: type more of the word\n")
    return out.getvalue()
