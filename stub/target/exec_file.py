# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: the file of the program that the machine runs."""

from collections.abc import Callable
from typing import BinaryIO, Protocol, runtime_checkable

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class ExecFile:
    """A file of which clients take the symbols."""

    name: str
    """An absolute path for clients to call it by; there need be no such file."""
    open: Callable[[], BinaryIO]
    """Gives it open to read; called when a client opens it. May raise `TargetError`."""


@runtime_checkable
class Program(Protocol):
    """The program's file."""

    def exec_file(self) -> ExecFile | None:
        """The file of the program that runs now; None if there is none to be had."""
