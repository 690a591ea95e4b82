# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: executing backwards."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from .stops import StopEvent


@runtime_checkable
class Reverse(Protocol):
    """Going back in the history of the machine."""

    def resume_backwards(self, step: bool, done: Callable[[StopEvent], None]) -> None:
        """Go back by one instruction, or to the last stop, and return at once.

        `done` is called once, from any thread, when the machine is there: with `HistoryEdge` at the beginning of the
        history.
        """
