# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors every part of the machine raises for something its user can put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stop import Stop


class MachineError(Exception):
    """A guest, a file or an address is wrong; the message is one sentence that says what is, and what to do."""


class NothingThere(MachineError):
    """There is neither memory nor a device at an address."""


class CallNotReturned(MachineError):
    """A guest function that was called did not return: `stop` is what came in between.

    The call has been abandoned. Registers, probes and interrupts are as they were before it; memory is as it left it.
    """

    def __init__(self, function: str, stop: Stop) -> None:
        super().__init__(
            f"the call of {function} did not return: {stop}; the call is abandoned: registers are as before it, "
            "memory is as it left it"
        )
        self.stop = stop
