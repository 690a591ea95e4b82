# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of the commands' help, for a given width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from armprobe.commands import values

from .text import as_text

WIDTH: Final = 110
"""Most characters of a line in a terminal: longer ones are hard to read."""
PLAIN: Final = 80
"""Characters of a line where the terminal's width is not known: in a pipe, and in gdb and LLDB."""


@as_text.register(values.CommandHelp)
def _(value: values.CommandHelp) -> str:
    return command_help(value, PLAIN)


@as_text.register(values.CommandList)
def _(value: values.CommandList) -> str:
    return command_list(value, PLAIN)


@as_text.register(values.CommandsFound)
def _(value: values.CommandsFound) -> str:
    return commands_found(value, PLAIN)


def command_help(value: values.CommandHelp, width: int) -> str:
    """The help of a command in lines of at most `width` characters, where words are not longer than that."""
    lines = [*filled(value.summary, width), *filled(f"Usage: {value.usage}", width, 7)]
    for paragraph in value.details.split("\n\n") if value.details else ():
        lines += ["", *_paragraph(paragraph, width)]
    if value.arguments:
        column = 4 + max(len(argument.label) for argument in value.arguments)
        lines.append("")
        for argument in value.arguments:
            lines += filled(f"{f'  {argument.label}':<{column}}{argument.help}", width, column)
    if value.aliases:
        lines += ["", *filled(f"Also: {', '.join(value.aliases)}", width)]
    if value.touches:
        lines += ["", *filled(value.touches, width)]
    if value.related:
        lines += ["", *filled(f"Related: {', '.join(value.related)}", width)]
    return "\n".join(lines) + "\n"


def commands_found(value: values.CommandsFound, width: int) -> str:
    """The commands that were found, in lines of at most `width` characters."""
    return "\n".join([*_summaries(value, width), *filled("help COMMAND says more.", width)]) + "\n"


def _summaries(commands: Sequence[values.CommandSummary], width: int) -> list[str]:
    column = 4 + max((len(command.name) for command in commands), default=0)
    return [
        line
        for command in commands
        for line in filled(f"{f'  {command.name}':<{column}}{command.summary}", width, column)
    ]


def command_list(value: values.CommandList, width: int) -> str:
    """The list of commands in lines of at most `width` characters."""
    column = 4 + max(len(command.name) for command in value)
    lines = []
    for group, commands in groupby(value, key=lambda command: command.group):
        lines += [group] if group else []
        for command in commands:
            lines += filled(f"{f'  {command.name}':<{column}}{command.summary}", width, column)
    lines += filled(
        "help COMMAND says more, help WORD finds what is about a word; a command may be shortened as long as it stays "
        "unique.",
        width,
    )
    return "\n".join(lines) + "\n"


def _paragraph(text: str, width: int) -> list[str]:
    """A paragraph; one with indented lines, such as an example, stays as it is."""
    if re.search(r"(?m)^ ", text):
        return text.split("\n")
    return filled(text.replace("\n", " "), width)


def filled(text: str, width: int, column: int = 0) -> list[str]:
    """Lines of words, from the second one on set off by `column` blanks where that leaves room."""
    indent = " " * column if column <= width // 2 else "      "
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
