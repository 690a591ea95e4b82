# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the guest for some time of its own clock, for a command."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason
from armprobe.machine.devices.timer import FREQUENCY

if TYPE_CHECKING:
    from armprobe.session import Session

TIMEOUT: Final = 60.0
"""Seconds of the guest's time in which it has to print what is waited for, as for `Console.expect`."""
_STEP: Final = 10_000  # instructions between two looks at the time


def run_for(session: Session, seconds: float, until: int | None = None, instructions: int | None = None) -> Stop | None:
    """Run for some seconds of the guest's time, or until what ends `Machine.run`; None when the time is over.

    For the owner's thread. While the guest idles, time passes without instructions: then it is looked at more often.
    """
    clock, machine = session.machine.clock, session.machine
    end, step, part = clock.now + max(1, int(seconds * FREQUENCY)), _STEP, None
    last = math.inf if instructions is None else clock.executed + instructions
    while True:
        idle, budget = clock.idle, int(min(end - clock.now, step, last - clock.executed))
        stop = session.go(partial(machine.run, until, budget, part), waits=False)
        if stop.reason is not StopReason.INSTRUCTIONS or clock.executed >= last:
            return stop
        if clock.now >= end:
            return None
        step, part = _STEP if clock.idle > idle else 10 * _STEP, machine.scheduler.last_run
