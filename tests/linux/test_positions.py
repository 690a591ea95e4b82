# SPDX-License-Identifier: GPL-2.0-or-later
"""Random positions of ten seconds of a stock kernel at work are the same from wherever they are reached."""

import pytest

from armprobe.machine import Machine
from armprobe.machine.devices.timer import FREQUENCY
from tests.identity import run_to, state  # tests have no import name to go by
from tests.linux.load import load
from tests.linux.shell import Shell
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

POSITIONS = 1000 if AT_LENGTH else 8
SECONDS = 10 if AT_LENGTH else 0.03
SPACING = None if AT_LENGTH else 300_000  # of checkpoints, in instructions


def test_positions_from_later_and_from_earlier(guest: Machine, shell: Shell) -> None:
    random = chance()
    guest.timeline.pacing.spacing = SPACING or guest.timeline.pacing.spacing
    shell.run(load())
    begin, began = guest.instructions, guest.clock.now
    end = begin + int(SECONDS * FREQUENCY)  # an instruction a tick
    positions = random.sample(range(begin, end), POSITIONS)
    seen: dict[int, str] = {}
    for position in sorted(positions):
        run_to(guest, position)
        seen[position] = state(guest)
    run_to(guest, end)
    assert guest.clock.now - began >= end - begin
    assert len(set(seen.values())) == POSITIONS
    left = {"later": set(positions), "earlier": set(positions)}

    def visit(position: int) -> None:
        left["later" if guest.instructions > position else "earlier"].discard(position)
        guest.timeline.go(position)
        assert state(guest) == seen[position], position

    for position in positions:
        visit(position)
    guest.timeline.go(end)
    for position in sorted(left["later"], reverse=True):
        visit(position)
    guest.timeline.go(begin)
    for position in sorted(left["earlier"]):
        visit(position)
    assert not any(left.values())
    guest.timeline.go(end)
    assert guest.timeline.live
