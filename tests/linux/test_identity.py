# SPDX-License-Identifier: GPL-2.0-or-later
"""All runs of a stock kernel are one, whatever is done to it on the way that should make no difference.

At length they go from reset to the shell and through the work. A sample begins at the shell.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from armprobe import machine
from armprobe.guests.linux.debian import build_initramfs
from armprobe.machine import Machine
from tests.identity import WAYS, Stretch, journey  # tests have no import name to go by
from tests.soak import AT_LENGTH, chance
from tests.stock import stock_kernel, stock_snapshot

pytestmark = pytest.mark.soak

BOOT = [Stretch(100_000_000), Stretch(500_000_003), Stretch(320_000_001)]
# The serial line takes 16 bytes at once (PL011): what is typed is there at the position where it is typed.
WORK = [
    Stretch(400_000, b"cd /; ls -l | "),
    Stretch(450_008, b"sort -r; x=1"),
    Stretch(2_200_003, b"; cat proc/"),
    Stretch(10_000_000, b"*/stat|wc\n"),
    Stretch(8_000_017),
    Stretch(200_003, b"echo arm''"),
    Stretch(5_100_001, b"probe-done\n"),
]
SAMPLE = [
    Stretch(400_000, b"cd /; ls -l | "),
    Stretch(450_008, b"sort -r; x=1"),
    Stretch(1),
    Stretch(300_017, b"; echo arm''"),
    Stretch(400_001, b"probe-done\n"),
    Stretch(5_000_003),
]
RUNS = 20 if AT_LENGTH else 2
DONE = b"\r\narmprobe-done"


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    path = tmp_path / "initrd"
    path.write_bytes(build_initramfs(stock_kernel().busybox.read_bytes()))
    return path


@pytest.mark.sample(of="tests")
def test_runs_of_linux(initrd: Path, tmp_path: Path) -> None:
    random = chance()

    def fresh() -> Machine:
        if AT_LENGTH:
            return machine.load(stock_kernel().vmlinuz, initrd=initrd, memory="256M")
        return machine.load(stock_snapshot())

    stretches = [*BOOT, *WORK] if AT_LENGTH else SAMPLE
    count = len(stretches)
    plain = list(journey(fresh(), stretches, [WAYS[0]] * count, random, tmp_path))
    assert len(set(plain)) == count
    assert DONE in plain[-1].console
    for number in range(1, RUNS):
        ways = [WAYS[number]] * count if AT_LENGTH and number < len(WAYS) else random.sample(WAYS * 2, count)
        print([way.__name__ for way in ways])
        assert list(journey(fresh(), stretches, ways, random, tmp_path)) == plain
