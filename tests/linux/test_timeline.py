# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back and forth in a run of a stock kernel: typed input, work in the guest's kernel, and steps."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from armprobe.commands import Session
from armprobe.machine import Machine
from tests.memories import digest

pytestmark = pytest.mark.sample(of="files")


def state(machine: Machine) -> str:
    names = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate", "ttbr0_el1", "sp_el0", "elr_el1")
    return repr([*(machine.registers[name] for name in names), machine.clock.now, digest(machine.ram.data)])


def test_positions_reached_from_later_and_from_earlier(session: Session) -> None:
    machine, chance = session.machine, random.Random(15)
    machine.timeline.pacing.spacing = 1_000_000
    seen = {machine.instructions: state(machine)}

    def on(count: int) -> None:
        machine.run(instructions=count)
        seen[machine.instructions] = state(machine)

    machine.console.write(b"cat /proc/meminfo; echo $((6 * 7))\n")
    for _ in range(6):
        on(chance.randrange(1, 500_000))
        machine.step(3)
        seen[machine.instructions] = state(machine)
    assert session.guest.sh("echo of a thread of the kernel").out == "of a thread of the kernel\n"
    on(200_000)
    machine.console.write(b"ls /\n")
    on(500_000)
    positions = [*seen, *seen]
    chance.shuffle(positions)
    for position in positions:
        machine.timeline.go(position)
        assert state(machine) == seen[position], position
    machine.timeline.go(machine.timeline.end)
    assert machine.timeline.live
    assert b"42" in machine.console.read()


def test_a_branch_of_a_stock_kernel_and_what_it_left(session: Session) -> None:
    machine, chance = session.machine, random.Random(16)
    machine.console.write(b"cat /proc/meminfo\n")
    seen = {}
    for _ in range(4):
        machine.run(instructions=chance.randrange(1, 500_000))
        seen["main", machine.instructions] = state(machine)
    machine.timeline.go(sorted(seen)[1][1])
    machine.console.write(b"echo $((6 * 7))\n")
    for _ in range(3):
        machine.run(instructions=chance.randrange(1, 500_000))
        seen["branch-1", machine.instructions] = state(machine)
    visits = [*seen, *seen]
    chance.shuffle(visits)
    for branch, position in visits:
        machine.timeline.go(position, branch)
        assert state(machine) == seen[branch, position], (branch, position)


LOADED = """
import sys
from armprobe import machine
from tests.linux.test_timeline import state
guest = machine.load(sys.argv[1])
for position in map(int, sys.argv[2:]):
    guest.timeline.go(position)
    print(state(guest))
"""


def test_a_saved_history_in_another_process(session: Session, tmp_path: Path) -> None:
    machine, chance = session.machine, random.Random(17)
    machine.timeline.pacing.spacing = 1_000_000
    for _ in range(4):
        machine.console.write(b"cat /proc/meminfo; echo $((6 * 7))\n")
        machine.run(instructions=chance.randrange(1, 900_000))
    present = state(machine)
    session.run(f"save {tmp_path / 'saved'}")
    assert state(machine) == present
    positions = chance.choices(range(machine.timeline.start, machine.timeline.end + 1), k=5)
    command = [sys.executable, "-c", LOADED, str(tmp_path / "saved"), *map(str, positions)]
    root = Path(__file__).parents[2]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout.splitlines()
    for position, loaded in zip(positions, said, strict=True):
        machine.timeline.go(position)
        assert state(machine) == loaded, position
