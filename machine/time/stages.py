# SPDX-License-Identifier: GPL-2.0-or-later
"""Coming back to a stop at a stage of a probe's hit, which is no instruction of the guest, by executing up to it again.

Stops are known by the attributes `probe` and `stage` of their details, because hits belong to another room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armprobe.machine.stop import Stop

from .history import can_be_hit
from .search import REPORTED

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

    from .timeline import Timeline


def stop_in_hit(machine: Machine) -> Stop | None:
    """The stop that the machine is in, if that is at a stage of a hit."""
    return None if machine.core.dispatcher.resume is None else machine.scheduler.last_stop


def go_into(timeline: Timeline, machine: Machine, stop: Stop, position: int) -> bool:
    """Go to `position`, and into the stage that `stop` is for. Returns whether that was possible."""
    asked = _stage(stop)
    if asked is None or not can_be_hit(asked[0]) or position == timeline.start:
        return False

    def reach() -> bool:
        while timeline.position <= position:
            count = position + 1 - timeline.position
            reached = machine.scheduler.run(None, count, interrupts=timeline.replay.interrupts)
            if timeline.position == position and _stage(reached) == asked:
                return True
            if reached.reason not in REPORTED:
                break
        return False

    return timeline.go_into(position, reach)


def _stage(stop: Stop) -> tuple[Any, Any] | None:
    """The probe and the stage of its hit that a stop is for. None for another stop."""
    probe = getattr(stop.detail, "probe", None)
    return None if probe is None else (probe, getattr(stop.detail, "stage", None))
