# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest as conditions, commands of breakpoints and tracepoints see it, from inside a run."""

from collections.abc import Sequence
from typing import Protocol

from armprobe.expressions import View
from armprobe.machine.native.program import Program


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


class Decide(Protocol):
    """Whether the machine stops. It is called from inside the run."""

    @property
    def programs(self) -> Sequence[Program] | None:
        """If all of these are false, the answer is no, and it need not be called. None: call it always."""

    def __call__(self, view: GuestView) -> bool: ...
