# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for a terminal: with colours, and tables that fit its width.

`rich` decides what the terminal can show: it heeds NO_COLOR, FORCE_COLOR and TERM. It is imported when there is a
terminal, since that takes a tenth of armprobe's start. What is not for a terminal is the text of `text.as_text`.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Final, TextIO

from armprobe.commands import values
from armprobe.stub.visible import visible

from .help import WIDTH, command_help, command_list, commands_found
from .text import as_text

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType

    from .live import Live

_MARKS: Final = (
    (r"(?m)^(error|warning|FAILED)(?=[:.])", "bold red"),
    (r"\[(GONE|DISABLED|PENDING)\]", "yellow"),
    (r"(?m)^=> .*$", "bold"),
    (r"(?<!\S)\*(x\d+|sp|pc) +[0-9a-f]{16}(?!\S)", "bold yellow"),
    (r"\baccepted(?=: )", "green"),
    (r"\b(REFUSED|E[A-Z]{2,}(?=: )|refused(?=: ))", "red"),
)
"""What is marked in text, and how."""

_CODE: Final = (values.Memory, values.ConsoleText, values.ConsoleOutput, values.ConsoleAnswer)
"""What is shown as it is: nothing in it is armprobe's to mark."""


_MOST_KEPT: Final = 48  # characters of a cell that are kept on one line at the cost of the notes


def shows_styles(stream: TextIO) -> bool:
    """Whether `stream` may be a terminal, or is to be treated as one."""
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


class Styles:
    """Text for the terminal that `stream` is; plain where it is none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = 0  # lines of the answer so far, which what is shown next replaces

    def value(self, value: object) -> str:
        """The text of a value, harmless to the terminal: only what is done here controls it."""
        from .live import Live

        if not shows_styles(self._stream):
            return visible(as_text(value))
        return self._taken_away() + (self._so_far(value) if isinstance(value, Live) else self._whole(value))

    def _taken_away(self) -> str:
        """What takes the answer so far off the screen."""
        before, self._live = self._live, 0
        return f"\x1b[{before}F\x1b[J" if before else ""  # CPL and ED of ECMA-48

    def _so_far(self, live: Live) -> str:
        """As much of the answer so far as fits the terminal: its last lines, which are the most frequent."""
        size = os.get_terminal_size(self._stream.fileno()) if self._stream.isatty() else os.terminal_size((80, 24))
        value = live.value()
        lines = visible(as_text(value)).splitlines()
        room = max(size.lines - 1, 1)
        shown = lines[:room] if isinstance(value, values.TopFunctions) else lines[-room:]
        self._live = len(shown)
        return "".join(line.expandtabs()[: size.columns - 1] + "\n" for line in shown)

    def _whole(self, value: object) -> str:
        from .compared import era_answers

        if isinstance(value, values.Probes) and value:
            return self._rendered(self._table(value))
        if isinstance(value, values.CommandHelp):
            return self.text(command_help(value, self._width))
        if isinstance(value, values.CommandList):
            return self.text(command_list(value, self._width))
        if isinstance(value, values.EraAnswers):
            return self.text(era_answers(value, self._console.width))
        if isinstance(value, values.CommandsFound):
            return self.text(commands_found(value, self._width))
        return visible(as_text(value)) if isinstance(value, _CODE) else self.text(as_text(value))

    def text(self, text: str) -> str:
        """A text of armprobe's, harmless to the terminal."""
        if not shows_styles(self._stream):
            return visible(text)
        from rich.text import Text

        above = self._taken_away()
        body = visible(text).rstrip("\n")  # rich takes one line end off
        marked = Text(body)
        for pattern, style in _MARKS:
            marked.highlight_regex(pattern, style)
        return above + self._rendered(marked, soft_wrap=True) + "\n" * (len(visible(text)) - len(body))

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self._stream, highlight=False, markup=False, emoji=False)

    @property
    def _width(self) -> int:
        """Characters of a line of text."""
        return min(WIDTH, self._console.width)

    def _rendered(self, what: RenderableType, soft_wrap: bool = False) -> str:
        with self._console.capture() as capture:
            self._console.print(what, soft_wrap=soft_wrap, end="")
        return capture.get()

    def _table(self, probes: values.Probes) -> RenderableType:
        """Where the terminal is too narrow, the notes of probes take several lines in their column, then the places."""
        from rich.table import Table
        from rich.text import Text

        from .probes import table

        rows = table(probes)
        shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for index, column in enumerate(rows.columns):
            longest = max(len(row[index]) for row in rows.rows)
            whole = bool(column.heading) and longest <= _MOST_KEPT
            justify: JustifyMethod = "right" if column.right else "left"
            shown.add_column(column.heading, justify=justify, no_wrap=whole, overflow="fold")
        for row in rows.rows:
            cells = [Text(visible(cell)) for cell in row]
            for pattern, style in _MARKS:
                cells[-1].highlight_regex(pattern, style)
            shown.add_row(*cells)
        return shown


def show_traceback(error: Exception, program: str) -> None:
    """Write the traceback of an error in the Python file `program` to standard error, a terminal.

    It begins in the program. What the error says is made harmless.
    """
    from rich.console import Console
    from rich.traceback import Traceback

    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename != program:
        at = at.tb_next
    trace = Traceback.extract(type(error), error, at or error.__traceback__)
    for stack in trace.stacks:
        stack.exc_value = visible(stack.exc_value)
    Console(stderr=True).print(Traceback(trace, width=None))
