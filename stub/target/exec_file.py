# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: the file of the program that the machine runs."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from armprobe.machine.lazy_dataclass import lazy_dataclass


def _nowhere() -> Path | None:
    return None


@lazy_dataclass
class ExecFile:
    """A file of which clients take the symbols."""

    name: str
    """An absolute path for clients to call it by; there need be no such file."""
    open: Callable[[], BinaryIO]
    """Gives it open to read; called when a client opens it. May raise `TargetError`."""
    path: Callable[[], Path | None] = _nowhere
    """Where the file that was opened last is on this computer, if that is not its name; None if it is nowhere."""


@runtime_checkable
class Program(Protocol):
    """The program's file."""

    def exec_file(self) -> ExecFile | None:
        """The file of the program that runs now; None if there is none to be had."""
