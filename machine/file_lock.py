# SPDX-License-Identifier: GPL-2.0-or-later
"""A lock file, so that only one of several processes makes the same thing at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_lock(lock: Path, waiting: str, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the file `lock`, creating its folder. If another process holds it, report `waiting` and wait.

    Raises OSError where the file cannot be written.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(waiting)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
