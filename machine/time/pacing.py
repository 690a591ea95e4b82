# SPDX-License-Identifier: GPL-2.0-or-later
"""When a checkpoint is taken while the guest runs: after some time, and for no more than a share of the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

RATE: Final = 200_000
"""Instructions that a guest executes in a millisecond, at most: in a loop, and on a usual computer."""
HISTORY_INTERVAL: Final = 200
"""Milliseconds that it takes to get to a position."""
_WAY: Final = 2  # a half of the interval is executed again at most. The rest is for all else that it takes to get there
_SHARE: Final = 50  # a checkpoint may take a 50th of the time: the host then copies pages that the guest writes to
_LEAST: Final = 20  # of the spacing in instructions: less is executed again soon, also where the guest had to wait
_AGAIN: Final = 2  # times as many checkpoints, which may cost as many times more, where somebody goes back and forth


class Pacing:
    """When the next checkpoint is taken: when the last one is half the interval ago, or later."""

    def __init__(self) -> None:
        self.spacing = HISTORY_INTERVAL * RATE
        """The interval, as the instructions that a guest executes in it, at most."""
        self._last = 0  # the position from which the distance counts
        self._last_at = self._used = self._cost = 0.0

    def begin(self, position: int) -> None:
        """The last checkpoint is that at `position`, where the machine is now."""
        self._last, self._last_at, self._used = position, time.monotonic(), time.process_time()

    def due_again(self, position: int) -> bool:
        """Whether to take a checkpoint in a replay, for what is executed there next."""
        return self.due(position, _AGAIN)

    def due(self, position: int, times: int = 1) -> bool:
        """Whether to take a checkpoint, of which there are `times` as many as usual."""
        spacing = self.spacing // times
        if position < self._last + spacing // _LEAST:
            return False
        # The share is one of the CPU's time: a checkpoint that had to wait for a busy computer is not dear.
        return (
            time.monotonic() - self._last_at >= spacing / RATE / 1000 / _WAY
            and time.process_time() - self._used >= _SHARE / times * self._cost
        )

    @contextlib.contextmanager
    def taking(self, position: int) -> Iterator[None]:
        """A context in which a checkpoint is taken at `position`."""
        began = time.process_time()
        try:
            yield
        finally:
            self.begin(position)
            self._cost = self._used - began
