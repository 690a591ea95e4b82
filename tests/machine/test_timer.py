# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer's three registers (Arm ARM, D11.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine.devices import GenericTimer, Gic
from armprobe.machine.state import StateRegistry

TVAL, CTL, CVAL = 0, 1, 2
INTID = 27
ENABLE, IMASK, ISTATUS = 1, 2, 4
M64 = (1 << 64) - 1


class Rig:
    def __init__(self, count: int = 0) -> None:
        self.count = count
        registry = StateRegistry()
        self._gic = Gic(registry)
        self.timer = GenericTimer("timer", registry, lambda: self.count, self._gic, INTID)

    @property
    def line(self) -> bool:
        return self._gic.level == 1 << INTID

    def at(self, count: int) -> bool:
        """The interrupt line at `count`."""
        self.count = count
        self.timer.update(self.count)
        return self.line


def test_it_fires_when_the_count_reaches_the_value() -> None:
    """D11.2.4: the condition is met while count - CompareValue is not negative, and the line follows it."""
    rig = Rig(100)
    rig.timer.write(CVAL, 200)
    rig.timer.write(CTL, ENABLE)
    assert rig.timer.deadline == 200
    assert not rig.at(199)
    assert rig.timer.read(CTL) == ENABLE
    assert rig.at(200)
    assert rig.timer.read(CTL) == ENABLE | ISTATUS
    assert rig.at(10_000)
    rig.timer.write(CVAL, 20_000)
    assert not rig.line
    assert rig.timer.read(CTL) == ENABLE


@pytest.mark.parametrize("control", [0, IMASK, ENABLE | IMASK])
def test_disabled_or_masked(control: int) -> None:
    """ISTATUS takes no account of IMASK (D19.12.17); of a disabled timer it is unknown, here 0."""
    rig = Rig(100)
    rig.timer.write(CVAL, 50)
    rig.timer.write(CTL, control)
    assert not rig.line
    assert rig.timer.deadline is None
    assert rig.timer.read(CTL) == control | (ISTATUS if control & ENABLE else 0)
    rig.timer.write(CTL, ENABLE)
    assert rig.line


def test_status_cannot_be_written() -> None:
    rig = Rig()
    rig.timer.write(CVAL, 10)
    rig.timer.write(CTL, ENABLE | ISTATUS)
    assert rig.timer.read(CTL) == ENABLE
    assert not rig.line


@given(st.integers(0, M64), st.integers(0, (1 << 32) - 1))
def test_the_timer_value_is_a_signed_offset(count: int, value: int) -> None:
    """D11.2.4: CompareValue = count + SignExtend(TimerValue); it reads as CompareValue - count."""
    rig = Rig(count)
    rig.timer.write(TVAL, value)
    signed = value - (1 << 32) if value >> 31 else value
    assert rig.timer.read(CVAL) == (count + signed) & M64
    assert rig.timer.read(TVAL) == value
    rig.count += 5
    assert rig.timer.read(TVAL) == (value - 5) & 0xFFFF_FFFF
