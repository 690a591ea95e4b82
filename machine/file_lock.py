# SPDX-License-Identifier: GPL-2.0-or-later
"""One process at a time: what several may want to make at once, and one is to."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_lock(lock: Path, waiting: str, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the file `lock`, in a folder that is made; while another process does, wait, having reported `waiting`.

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
