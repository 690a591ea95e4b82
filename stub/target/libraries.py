# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: code that is loaded while the program runs, such as the modules of a kernel."""

from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol, runtime_checkable

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class Library:
    """A file of symbols at the addresses at which they are."""

    name: str
    """An absolute path for clients to call it by; there need be no such file. Another library has another name."""
    number: int
    """Another for each library, from 1."""


@runtime_checkable
class Libraries(Protocol):
    """The libraries. A change stops a run with `LibrariesChanged` if the client has asked for them before."""

    @property
    def has_libraries(self) -> bool:
        """Whether the program can ever have libraries."""

    def libraries(self) -> Sequence[Library]:
        """The libraries that are loaded now."""

    def file_of_library(self, name: str) -> Callable[[], BinaryIO] | None:
        """Gives the file of the library that was called `name`, open to read; None if there is none."""
