# SPDX-License-Identifier: GPL-2.0-or-later
"""How often checkpoints are taken, and where their memory is kept, as the user says."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from armprobe import machine
from armprobe.commands import cli
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.machine.scheduler import SLICE
from tests.memories import digest  # tests have no import name to go by

MILLISECOND = 200_000
"""Instructions, as docs/time-travel.md says."""
LENGTH = 4_000_000


def positions(guest: Machine) -> list[int]:
    return sorted(each.position for each in guest.checkpoints.newest.ancestors())[1:]


def kept_in(folder: Path) -> int:
    """The bytes of the files in a folder that this process has open, named or not."""
    links = [each for each in Path("/proc/self/fd").iterdir() if str(each.resolve()).startswith(f"{folder}/")]
    return sum(each.stat().st_size for each in links)


def test_the_interval() -> None:
    short, usual = machine.load("demo", memory="4M", history_interval=5), machine.load("demo", memory="4M")
    for guest in short, usual:
        guest.run(instructions=LENGTH)
    assert 5 * MILLISECOND <= positions(short)[0] < 5 * MILLISECOND + SLICE
    assert positions(usual) == []


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
