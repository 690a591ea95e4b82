# SPDX-License-Identifier: GPL-2.0-or-later
"""Tab at the prompt: inserts what all candidates have in common, or shows them: in a menu, with what they are beside
them, or above the line if they are too many for that."""

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
from .registry import Registry

LISTED: Final = 200  # gdb's `max-completions`


class Completes(Protocol):
    """The part of a session that completion uses."""

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""

    def complete_like(self, line: str) -> list[str]:
        """Candidates that have the letters of the last word of `line` in their order, the nearest first."""


class SessionCompleter(Completer):
    """Has the session complete the line. Where nothing begins as the word does, the candidates are names that have its
    letters in this order."""

    def __init__(self, session: Completes, registry: Registry) -> None:
        self._session = session
        self._registry = registry

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        line = document.text_before_cursor
        if ";" in line:
            line = str(self._registry.commands_in(f"{line}\0")[-1]).lstrip().rstrip("\0")
        word = split_for_completion(line)[-1]
        candidates = self._session.complete(line) or self._session.complete_like(line)
        for candidate in candidates:
            described = self._registry.described(line, candidate)
            yield Completion(candidate, start_position=word.start - len(line), display_meta=described or None)


def tab_binding(completer: Completer, write: Callable[[str], None]) -> KeyBindings:
    """The binding of Tab; `write` shows text above the line.

    prompt_toolkit's own, for `CompleteStyle.READLINE_LIKE`, asks "Display all ... possibilities?" in a prompt within
    the prompt, which Ctrl-C and Ctrl-D end with an exception that nothing takes (3.0.53). This asks nothing.
    """
    bindings = KeyBindings()

    @bindings.add("tab")
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None:
            buffer.complete_next()
            return
        candidates = list(completer.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        if len(candidates) == 1:
            buffer.delete_before_cursor(-candidates[0].start_position)
            buffer.insert_text(candidates[0].text)
        elif suffix := get_common_complete_suffix(buffer.document, candidates):
            buffer.insert_text(suffix)
        elif 0 < len(candidates) <= LISTED:
            buffer.start_completion(select_first=False, complete_event=CompleteEvent(completion_requested=True))
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
