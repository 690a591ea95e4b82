# SPDX-License-Identifier: GPL-2.0-or-later
"""The refusal of a definition, a filter or a trigger, as the kernel reports it."""

from __future__ import annotations

from armprobe.probes.errors import ProbeError


class EventError(ProbeError):
    """A text for one of the kernel's files of events was refused.

    `errno` is the result of the write. `message` is the kernel's text in tracing/error_log, `command` the text that it
    logs, and `column` the place of the caret below that, from 0. All three are None where the kernel logs nothing.
    `reason` is a sentence in any case.
    """

    def __init__(
        self,
        number: int,
        reason: str,
        message: str | None = None,
        command: str | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(number, reason)
        self.message, self.command, self.column = message, command, column

    @classmethod
    def logged(cls, number: int, message: str, command: str, column: int) -> EventError:
        """An error that the kernel logs."""
        at = command[column:].split(" ")[0]
        where = f"at '{at}'" if at and column else f"in '{command}'" if not column else "at the end"
        return cls(number, f"{message.rstrip('.')}, {where}", message, command, column)

    @property
    def caret(self) -> str:
        """The command with a caret below the place, as tracing/error_log shows it; empty if nothing is logged."""
        if self.command is None or self.column is None:
            return ""
        return f"  Command: {self.command}\n{'':{len('  Command: ') + self.column}}^"
