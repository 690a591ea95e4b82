# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception for a user's mistake in a command."""

from typing import NamedTuple


class Excerpt(NamedTuple):
    """A refused text, and the offset of the character in it that is wrong, 0 to len(text)."""

    text: str
    column: int


class CommandError(Exception):
    """A command could not be done as written.

    The message is one clear sentence, without a full stop, that says what was wrong and how to fix it. Every front end
    shows it unchanged: the REPL after ``error:``, GDB through ``gdb.GdbError``. `value` is a partial result of the
    command (`armprobe.commands.values`), which is shown first. None if there is none. `excerpt` is the expression or
    note that is wrong, which is shown after the message with a caret. None if the error is another.
    """

    def __init__(self, message: str, value: object = None, excerpt: Excerpt | None = None) -> None:
        super().__init__(message)
        self.value = value
        self.excerpt = excerpt
