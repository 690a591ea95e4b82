# SPDX-License-Identifier: GPL-2.0-or-later
"""Software step exceptions that nobody waits for: the end of the single_step_handler() of
arch/arm64/kernel/debug-monitors.c.

It says so, sets SPSR.SS again and returns: to the next of these, one instruction on.
"""

from __future__ import annotations

from typing import Final

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.core.core import Core

from .eras.hit_rules import Status
from .hit_trace import Moments

_SHOWN: Final = 3  # before the machine stops for them


class UnexpectedSteps:
    """Those of one machine. `count` is how many there have been in a row."""

    def __init__(self, machine: Machine, moments: Moments) -> None:
        self._machine = machine
        self._moments = moments
        self.count = 0

    def taken(self, core: Core, address: int, status: Status) -> bool:
        """There is one at virtual `address`. False if it is the guest's own doing, to be delivered to it."""
        if not self._machine.core.software_step.enabled(core.context):
            return False
        self.count += 1
        where = self._moments.where(address)
        self._moments.tell(f"Unexpected kernel single-step exception at EL1: {where}", status)
        self._machine.core.software_step.exception_return(core.context)
        if self.count == _SHOWN:
            reason = (
                "Unexpected kernel single-step exception at EL1: the step that was to end the instruction in a slot "
                f"did not come there. It comes now, at {where}, where nobody waits for it, and at "
                "each instruction from here on"
            )
            self._machine.request_stop(Stop(StopReason.PROBE, address, reason), self._forget)
        return True

    def _forget(self, _: Core) -> None:
        self.count = 0  # they will come again, and so will the stop
