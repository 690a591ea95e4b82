# SPDX-License-Identifier: GPL-2.0-or-later
"""How often checkpoints are taken, and where their memory is kept, as the user says."""

import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from armprobe import machine
from armprobe.commands import cli
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.machine.scheduler import SLICE
from armprobe.machine.time import pacing
from armprobe.machine.time.checkpoint import Checkpoint
from tests.memories import digest  # tests have no import name to go by

LENGTH = 4_000_000
LOOKS = 4 * SLICE  # instructions between two looks at the time (MOST_IN_A_ROW, machine/native/slices.c)


def positions(guest: Machine) -> list[int]:
    return sorted(each.position for each in guest.checkpoints.newest.ancestors())[1:]


def kept_in(folder: Path) -> int:
    """The bytes of the files in a folder that this process has open, named or not."""
    links = [each for each in Path("/proc/self/fd").iterdir() if str(each.resolve()).startswith(f"{folder}/")]
    return sum(each.stat().st_size for each in links)


class Computer:
    """A clock for the pacing of one guest: the time that a computer would take for what the guest has done."""

    def __init__(self, guest: Machine, rate: int, cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
        """It executes `rate` instructions in a millisecond, and a checkpoint takes `cost` milliseconds."""
        self.taking, self._guest, self._rate, self._cost = 0.0, guest, rate, cost
        self._take = guest.checkpoints.take
        monkeypatch.setattr(guest.checkpoints, "take", self._slowly)
        monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=self.seconds, process_time=self.seconds))
        guest.timeline.begin(lambda: None)

    @property
    def running(self) -> float:
        """Milliseconds that the guest ran."""
        return self._guest.instructions / self._rate

    def seconds(self) -> float:
        return (self.running + self.taking) / 1000

    def _slowly(self, exact: bool) -> Checkpoint:
        self.taking += self._cost
        return self._take(exact)


def test_the_usual_interval() -> None:
    usual, same = machine.load("demo", memory="4M"), machine.load("demo", memory="4M", history_interval=200)
    assert usual.timeline.pacing.spacing == same.timeline.pacing.spacing, "docs/time-travel.md"


@pytest.mark.parametrize(("rate", "interval"), [(50_000, 200), (50_000, 100), (300_000, 100)])
def test_going_to_a_position_takes_no_longer_than_the_interval(
    rate: int, interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = machine.load("demo", memory="4M", history_interval=interval)
    Computer(guest, rate, 0, monkeypatch)
    guest.run(instructions=2 * interval * rate)
    ways = [after - before for before, after in pairwise([0, *positions(guest), guest.instructions])]
    assert max(ways) <= interval * rate
    assert min(ways[:-1]) >= interval * rate // 2 - LOOKS, "and no more checkpoints than that takes"


def test_checkpoints_take_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = machine.load("demo", memory="4M")
    computer = Computer(guest, 50_000, 10, monkeypatch)
    guest.run(instructions=40_000_000)
    assert 0 < computer.taking <= computer.running / 20, "5 %"


def test_going_back_leaves_checkpoints_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = machine.load("demo", memory="4M")
    Computer(guest, 50_000, 0, monkeypatch)
    guest.run(instructions=11_900_000)
    first, last = positions(guest)[:2]
    assert last - first >= 100 * 50_000
    guest.timeline.go(last - 1)
    ways = [after - before for before, after in pairwise([first, *positions(guest), last]) if before >= first]
    assert max(ways) <= 50 * 50_000 + SLICE


def test_the_folder(tmp_path: Path) -> None:
    spilled = machine.load("demo", memory="4M", history_folder=tmp_path)
    usual = machine.load("demo", memory="4M")
    for guest in spilled, usual:
        for _ in range(3):
            guest.run(instructions=50_001)
            guest.timeline.take()
        seen = digest(guest.ram.data)
        guest.timeline.reverse_step(50_001)
        guest.timeline.go(guest.timeline.end)
        assert digest(guest.ram.data) == seen
    saved = usual.checkpoints.size - spilled.checkpoints.size
    assert saved > 0
    assert kept_in(tmp_path) >= saved


def test_a_full_disk_leaves_the_guest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = machine.load("demo", memory="4M", history_interval=5, history_folder=tmp_path)
    Computer(guest, 50_000, 0, monkeypatch)

    def full(*_: object) -> NoReturn:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert guest.run(instructions=LENGTH).reason is StopReason.INSTRUCTIONS
        assert positions(guest) == []
        with pytest.raises(MachineError, match=r"No space left on device.*make room"):
            guest.timeline.take()
    guest.run(instructions=LENGTH)
    assert positions(guest)


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for interval in (4, 60_001, -1):
        with pytest.raises(MachineError, match=r"interval is 5 to 60,000 milliseconds"):
            machine.load("demo", history_interval=interval)
    for options in (["--history-interval", "1"], ["--history-folder", str(tmp_path / "none")]):
        assert cli.main(["--no-config", *options, "-c", "when"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("armprobe: ")
        assert said.count("\n") == 1
