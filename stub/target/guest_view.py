# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest as conditions, commands of breakpoints and tracepoints see it, from inside a run."""

from collections.abc import Callable
from typing import Protocol

from armprobe.expressions import View


class GuestView(View, Protocol):
    """The guest when execution has reached an instruction.

    Looking must be quick: the guest waits. The names of registers are those that `Registers` knows.
    """

    @property
    def vectors(self) -> bytes:
        """v0 to v31, 16 bytes each, little-endian."""

    @property
    def microseconds(self) -> int:
        """Guest time since reset."""


Decide = Callable[[GuestView], bool]
"""Whether the machine stops. It is called from inside the run."""
