# SPDX-License-Identifier: GPL-2.0-or-later
"""The one exception by which a command reports its user's mistake."""


class CommandError(Exception):
    """A command could not be done as it was written.

    The message is one clear sentence, without a full stop, that says what was wrong and what to do about it. Every
    front end shows it as it stands: the REPL after ``error:``, GDB through ``gdb.GdbError``. `value` is what the
    command has found all the same (`armprobe.commands.values`), which is shown first; None if nothing.
    """

    def __init__(self, message: str, value: object = None) -> None:
        super().__init__(message)
        self.value = value
