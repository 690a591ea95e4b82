# SPDX-License-Identifier: GPL-2.0-or-later
"""When a checkpoint is taken while the guest runs: at distances, and for no more than a share of the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

SPACING: Final = 40_000_000
"""Instructions between two checkpoints: a fifth of a second to execute."""
_SHARE: Final = 30  # a checkpoint may take a 30th of the time since the last one was taken


class Pacing:
    """When the next checkpoint is taken, at a position or later."""

    def __init__(self) -> None:
        self._due = 0
        self._taken_at = self._cost = 0.0

    def next_at(self, position: int) -> None:
        """The next checkpoint is due at `position`."""
        self._due = position

    def due(self, position: int, delay: int) -> bool:
        """Whether to take a checkpoint. If it would take too much of the time, it is due `delay` instructions later."""
        if position < self._due:
            return False
        if time.monotonic() - self._taken_at < _SHARE * self._cost:
            self._due = position + delay
            return False
        return True

    @contextlib.contextmanager
    def taking(self, following: int) -> Iterator[None]:
        """A context in which a checkpoint is taken. The one after it is due at the position `following`."""
        began = time.monotonic()
        yield
        self._taken_at = time.monotonic()
        self._cost, self._due = self._taken_at - began, following
