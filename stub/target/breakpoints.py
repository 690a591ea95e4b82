# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities: breakpoints, and breakpoints that decide inside the run whether they stop the machine."""

from typing import Protocol, runtime_checkable

from .guest_view import Decide
from .stops import BreakKind


@runtime_checkable
class Breakpoints(Protocol):
    """Breakpoints that always stop the machine; `length` is the size of the instruction in bytes."""

    def insert_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        """Insert one. Nothing changes for one that a client before has left in, except that it always stops now."""

    def remove_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        """Remove the one that was inserted with the same arguments."""


@runtime_checkable
class ConditionalBreakpoints(Breakpoints, Protocol):
    """Breakpoints with conditions and commands."""

    def insert_conditional_breakpoint(
        self, kind: BreakKind, address: int, length: int, decide: Decide, persistent: bool
    ) -> None:
        """Insert one that stops the machine only where `decide` says so.

        A `persistent` one is left in by `detach`, until a client inserts it again or the guest is put back to its
        start. `remove_breakpoint` removes it.
        """
