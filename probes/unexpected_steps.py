# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles unexpected software step exceptions, like the kernel's single_step_handler() at its end.

The kernel (arch/arm64/kernel/debug-monitors.c) reports the exception, sets SPSR.SS again and returns, so the next one
comes one instruction later.
"""

from __future__ import annotations

from typing import Final

from armprobe.machine import Stop, StopReason
from armprobe.machine.core.core import Core

from .control_block import ControlBlock
from .exception_moments import Moments

_SHOWN: Final = 3  # before the machine stops for them


class UnexpectedSteps:
    """The unexpected step exceptions of one machine."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments

    def taken(self, block: ControlBlock, address: int) -> bool:
        """Handle the exception at virtual `address`. False if the guest steps itself and the exception is its own."""
        core = block.core
        if not core.software_step.enabled(core.context):
            return False
        block.unexpected_steps += 1
        where = self._moments.where(address)
        self._moments.tell(core, f"Unexpected kernel single-step exception at EL1: {where}", block.status)
        core.software_step.exception_return(core.context)
        if block.unexpected_steps == _SHOWN:
            reason = (
                "Unexpected kernel single-step exception at EL1: the step that was to end the instruction in a slot "
                f"did not come there. It comes now, at {where}, where nobody waits for it, and at "
                "each instruction from here on"
            )

            def forget(_: Core) -> None:
                block.unexpected_steps = 0  # they will come again, and so will the stop

            core.request_stop(Stop(StopReason.PROBE, address, reason), forget)
        return True
