# SPDX-License-Identifier: GPL-2.0-or-later
"""All runs of the demo from reset are one, whatever is done to it on the way that should make no difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from armprobe import machine
from tests.identity import WAYS, Stretch, journey  # tests have no import name to go by
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

RUNS = 20 if AT_LENGTH else len(WAYS)
STRETCHES = [Stretch(60_000, b"typed"), *[Stretch(70_001)] * 8, Stretch(100_003, b"\n")]


def test_runs_of_the_demo(tmp_path: Path) -> None:
    random = chance()
    plain = list(journey(machine.load("demo", memory="4M"), STRETCHES, [WAYS[0]] * 10, random, tmp_path))
    assert len(set(plain)) == 10
    for number in range(1, RUNS):
        ways = [WAYS[number % len(WAYS)]] * 10 if number < len(WAYS) else random.choices(WAYS, k=10)
        print([way.__name__ for way in ways])
        assert list(journey(machine.load("demo", memory="4M"), STRETCHES, ways, random, tmp_path)) == plain
