# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: watchpoints."""

from typing import Protocol, runtime_checkable

from .stops import WatchKind


@runtime_checkable
class Watchpoints(Protocol):
    """Watchpoints; `length` is the number of bytes watched."""

    def insert_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        """Watch memory."""

    def remove_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        """Remove the one that was inserted with the same arguments."""
