# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability: tracepoints."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from armprobe.machine.native.program import Program

from .guest_view import GuestView


@runtime_checkable
class Tracepoints(Protocol):
    """Watching execution without a stop."""

    def trace(
        self,
        address: int,
        hit: Callable[[GuestView], int],
        stepped: Callable[[GuestView], None],
        steps: bool,
        condition: Program | None,
    ) -> Callable[[], None]:
        """Have `hit` called, from inside the run, each time before the instruction at `address` is executed.

        With `condition`, it may not be called where that is 0. With `steps`, its result is the number of instructions
        that are then executed one by one, with a call of `stepped` after each; the machine does not stop for the
        client. The function that is returned removes the tracepoint, and does nothing if `kill` has. Raises
        `TargetError` where there can be none.
        """
