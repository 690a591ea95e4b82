# SPDX-License-Identifier: GPL-2.0-or-later
"""Times of short pieces of the same work, of which the least counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PIECES: Final = 5

TURNS: Final = 5
"""How often what is compared is measured by turns: a computer's speed changes within seconds."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU time of this process for some work: other processes of the computer do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def least(seconds: Callable[[], float]) -> float:
    """The least of several times: whatever disturbs one makes it longer, and a short one is often not disturbed."""
    return min(seconds() for _ in range(PIECES))
