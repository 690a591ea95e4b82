# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for what will happen, however busy the computer is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from armprobe.session import Session

PATIENCE: Final = 600.0
"""Seconds after which something that has to happen is taken not to happen at all."""


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Return once `happened()` is true. AssertionError, which names `what`: it has not become true for long."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"it does not happen: {what}"
        time.sleep(0.005)


def going_on(session: Session) -> None:
    """Wait until the guest has executed something more."""
    before = session.machine.instructions
    wait_until(lambda: session.machine.instructions > before, "the guest goes on")
