# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that all parts of the machine raise for problems that the user can fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stop import Stop


class MachineError(Exception):
    """A guest, a file or an address is wrong. The message is one sentence that says what is wrong and what to do."""


class NothingThere(MachineError):
    """There is neither memory nor a device at an address."""


class CallNotReturned(MachineError):
    """A called guest function did not return, because of `stop`.

    The call has been abandoned. Registers, probes and interrupts are as before the call; its writes to memory remain.
    """

    def __init__(self, function: str, stop: Stop) -> None:
        super().__init__(
            f"the call of {function} did not return: {stop}; the call is abandoned: registers are as before it, "
            "memory is as it left it"
        )
        self.stop = stop
