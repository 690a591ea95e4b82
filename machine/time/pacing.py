# SPDX-License-Identifier: GPL-2.0-or-later
"""When a checkpoint is taken while the guest runs: at distances, and for no more than a share of the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

RATE: Final = 200_000
"""Instructions that a guest executes in a millisecond, about."""
INTERVAL: Final = 200
"""Milliseconds that it takes to execute what is between two checkpoints."""
_SHARE: Final = 30  # a checkpoint may take a 30th of the time since the last one was taken


class Pacing:
    """When the next checkpoint is taken: `spacing` instructions after the last one, or later."""

    def __init__(self) -> None:
        self.spacing = INTERVAL * RATE
        self._last = 0  # the position from which the distance counts
        self._taken_at = self._cost = 0.0

    def begin(self, position: int) -> None:
        """The last checkpoint is that at `position`."""
        self._last = position

    def due(self, position: int) -> bool:
        """Whether to take a checkpoint. If it would take too much of the time, it is due some instructions later."""
        if position < self._last + self.spacing:
            return False
        if time.monotonic() - self._taken_at < _SHARE * self._cost:
            self._last = position - self.spacing + self.spacing // 8
            return False
        return True

    @contextlib.contextmanager
    def taking(self, position: int) -> Iterator[None]:
        """A context in which a checkpoint is taken at `position`."""
        self._last, began = position, time.monotonic()
        yield
        self._taken_at = time.monotonic()
        self._cost = self._taken_at - began
