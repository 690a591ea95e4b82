# SPDX-License-Identifier: GPL-2.0-or-later
"""Coming back to a stop at a stage of a probe's hit, which is no instruction of the guest, by executing up to it again.

Stops are known by the attributes `probe` and `stage` of their details, because hits belong to another room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from armprobe.machine.stop import Stop

from .history import can_be_hit
from .search import REPORTED, changes_nothing

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

    return _run_into(timeline, machine, position, reach)


def _run_into(timeline: Timeline, machine: Machine, position: int, reach: Callable[[], bool]) -> bool:
    """Have `reach` run from just before `position` into a stage of a hit there. Returns what that returned."""
    timeline.replay_from_before(position - 1)
    current = timeline.tree.current
    end = current.end
    current.end = max(end, position + 1)  # until there it is the past: no handler is called
    try:
        with timeline.quietly():
            reached = reach()
    finally:
        current.end = end
    if reached and position == end:
        assert machine.scheduler.last_run is not None
        timeline.replay_due(machine.scheduler.last_run)
    return reached


def stop_before(timeline: Timeline, machine: Machine) -> Stop | None:
    """Go to the stop before the stage of a hit that the machine is stopped at, if that is at the same position.

    Such are those of other probes there, and of watched memory that the stage before has written. Returns it, or None.
    """
    here, position = stop_in_hit(machine), timeline.position
    if here is None or position == timeline.start:
        return None
    stops = _stops_up_to(timeline, machine, position, lambda stop, _: _is_same(stop, here))[:-1]
    before = max((number for number, stop in enumerate(stops, 1) if not changes_nothing(stop)), default=0)
    if before:
        return _stops_up_to(timeline, machine, position, lambda _, count: count == before)[-1]
    timeline.replay_from_before(position)
    return None


def _stops_up_to(
    timeline: Timeline, machine: Machine, position: int, wanted: Callable[[Stop, int], bool]
) -> list[Stop]:
    """Go through the stops at `position` to the one that is `wanted`, by itself and by their count. Returns them."""
    found: list[Stop] = []

    def reach() -> bool:
        while timeline.position <= position:
            count = position + 1 - timeline.position
            stop = machine.scheduler.run(None, count, interrupts=timeline.replay.interrupts)
            if stop.reason not in REPORTED:
                break
            if timeline.position == position:
                found.append(stop)
                if wanted(stop, len(found)):
                    return False  # it is no end of the way: the machine stays in the past
        found.clear()
        return False

    _run_into(timeline, machine, position, reach)
    return found


def _is_same(one: Stop, other: Stop) -> bool:
    return (one.reason, one.address, _stage(one)) == (other.reason, other.address, _stage(other))


def _stage(stop: Stop) -> tuple[Any, Any] | None:
    """The probe and the stage of its hit that a stop is for. None for another stop."""
    probe = getattr(stop.detail, "probe", None)
    return None if probe is None else (probe, getattr(stop.detail, "stage", None))
