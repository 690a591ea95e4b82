# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: the guest asks for the client's files."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from .stops import StopEvent


@runtime_checkable
class HostCalls(Protocol):
    """Stops of the class `HostCall`, and their answers."""

    def answer(self, result: int, errno: int, interrupted: bool, done: Callable[[StopEvent], None]) -> None:
        """Give the client's answer to the `HostCall` that the machine stopped for, and go on as the last `resume` would
        have; `interrupted` says to stop instead, as for `interrupt`. `done` is that of `resume`.
        """
