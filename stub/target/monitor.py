# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities: the machine's own commands, and what a program inside gdb must know to offer them there."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .control import Client


@lazy_dataclass
class Place:
    """An address in the guest, and the symbol that it is in."""

    address: int
    name: str
    start: int
    size: int
    """Bytes from `start` on that are the symbol's; 0 if that is not known."""


@runtime_checkable
class Monitor(Protocol):
    """Commands of the user's (gdb's `monitor`)."""

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        """Run a command. `out` takes pieces of text; the result is False if the command failed.

        It is called only while the machine is stopped for the client. `interrupt` may be called meanwhile and, where
        the client leaves instead of waiting, `kill` and `detach`.
        """


@runtime_checkable
class Commands(Monitor, Protocol):
    """A list of those commands, and what is needed to complete them and to follow what they do."""

    @property
    def position(self) -> int:
        """Where the machine is in time: the count of the guest's own instructions."""

    def command_table(self) -> str:
        """The commands as JSON: a list of {"name", "summary", "usage", "help": str, "gdb": bool}."""

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""

    def command_value(self, client: Client, line: str) -> str:
        """Run a command; its answer as a line of JSON, with its error if it failed. Called as `command` is."""

    def context(self) -> str:
        """What the user wants to see after each stop; empty if nothing."""

    def place(self, word: str) -> Place | None:
        """What `word` means, as a command's user names a place; None if it means nothing."""
