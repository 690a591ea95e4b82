# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches of the history: what came after a write in the past is kept, and is gone back to."""

import random
from dataclasses import astuple

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError

UNUSED = 0x4030_0000


def digest(guest: Machine) -> tuple[object, ...]:
    registers = tuple(guest.registers[name] for name in (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"))
    return registers, guest.instructions, guest.clock.now, hash(bytes(guest.ram.data))


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.timeline.pacing.spacing = 30_000
    guest.run(instructions=50_000)
    return guest


def poke(guest: Machine, number: int) -> None:
    guest.memory.physical.write(UNUSED, number.to_bytes(4, "little"))


def test_every_position_of_every_branch_is_what_it_was(demo: Machine) -> None:
    """Branches of branches, begun at random positions, are visited in another order."""
    chance, seen = random.Random(15), {}
    for number in range(12):
        branch = chance.choice(demo.timeline.branches)
        demo.timeline.go(chance.randrange(branch.fork, branch.end), branch.name)
        poke(demo, number)
        name = demo.timeline.branch
        for _ in range(3):
            demo.run(instructions=chance.randrange(1, 40_000))
            poke(demo, 1000 + number)
            demo.step()
            seen[name, demo.instructions] = digest(demo)
    assert len(demo.timeline.branches) == 13
    visits = list(seen)
    chance.shuffle(visits)
    for name, position in visits:
        demo.timeline.go(position, name)
        assert (demo.timeline.branch, demo.instructions) == (name, position)
        assert digest(demo) == seen[name, position], (name, position)
    for branch in demo.timeline.branches:
        demo.timeline.go(None, branch.name)
        assert demo.timeline.live
        assert demo.timeline.position == branch.end


def test_the_list_says_where_each_begins_and_ends(demo: Machine) -> None:
    demo.timeline.go(20_000)
    poke(demo, 1)
    demo.run(instructions=5_000)
    demo.timeline.go(22_000)
    poke(demo, 2)
    rows = [astuple(branch) for branch in demo.timeline.branches]
    assert rows == [
        ("main", None, 0, 50_000, False),
        ("branch-1", "main", 20_000, 25_000, False),
        ("branch-2", "branch-1", 22_000, 22_000, True),
    ]


def test_a_branch_goes_on_where_it_was_left(demo: Machine) -> None:
    other = machine.load("demo", memory="4M")
    other.run(instructions=90_000)
    demo.timeline.go(20_000)
    poke(demo, 1)
    demo.run(instructions=5_000)
    demo.timeline.go(None, "main")
    demo.run(instructions=40_000)
    assert digest(demo) == digest(other)
    assert [branch.end for branch in demo.timeline.branches] == [90_000, 25_000]


def test_questions_and_looks_begin_no_branch(demo: Machine) -> None:
    demo.run(until="workload_round")
    demo.run(instructions=20_000)
    demo.timeline.go(demo.instructions - 10_000)
    demo.timeline.last_write(demo.registers.sp, 8)
    demo.call("strlen", demo.symbols["strlen"].address)
    demo.timeline.reverse_step()
    demo.run(instructions=10)
    assert [branch.name for branch in demo.timeline.branches] == ["main"]


def test_marks_belong_to_their_branch(demo: Machine) -> None:
    demo.timeline.marks.update(early=10_000, late=45_000)
    demo.timeline.go(20_000)
    poke(demo, 1)
    assert demo.timeline.marks == {"early": 10_000}
    assert demo.timeline.marked("early") == ("branch-1", 10_000)
    assert demo.timeline.marked("late") == ("main", 45_000)


def test_a_branch_that_takes_too_much_memory_is_thrown_away_and_says_so(demo: Machine) -> None:
    demo.timeline.memory = 4 << 20
    for number in range(40):  # each branch has 64 KiB of its own
        demo.timeline.go(20_000)
        demo.memory.physical.write(UNUSED, bytes([number + 1]) * (64 << 10))
        demo.run(instructions=100)
    assert len(demo.timeline.branches) < 20
    with pytest.raises(MachineError, match=r"main was thrown away: the history takes more than its 4 MiB of memory"):
        demo.timeline.go(None, "main")
    with pytest.raises(MachineError, match="no branch 'nosuch': there are branch-40,"):
        demo.timeline.go(None, "nosuch")
    newest = demo.timeline.branches[-1].name
    demo.timeline.go(None, newest)
    assert demo.timeline.branch == newest


def test_checkpoints_of_left_branches_go_first(demo: Machine) -> None:
    """A branch without checkpoints of its own is executed again from where it was begun."""
    seen = {}
    for number in range(4):
        demo.timeline.go(20_000)
        poke(demo, number + 1)
        for _ in range(8):
            demo.run(instructions=10_000)
            demo.timeline.take()
        seen[demo.timeline.branch] = digest(demo)
    full = demo.checkpoints.size
    demo.timeline.memory = full // 3
    demo.run(instructions=1)
    demo.timeline.take()
    assert demo.checkpoints.size <= full // 3
    for name in ("branch-1", "branch-2", "branch-3"):
        demo.timeline.go(None, name)
        assert digest(demo) == seen[name]


def test_no_more_than_64_are_kept(demo: Machine) -> None:
    for number in range(70):
        demo.timeline.go(20_000)
        poke(demo, number + 1)
        demo.step()
    assert len(demo.timeline.branches) == 65
    with pytest.raises(MachineError, match="main was thrown away: no more than 64 branches are kept"):
        demo.timeline.go(None, "main")


def test_the_oldest_part_is_dropped_of_all_branches(demo: Machine) -> None:
    demo.timeline.go(20_000)
    poke(demo, 1)  # this one shares nothing with what is left in the end
    demo.timeline.go(None, "main")
    demo.timeline.memory = 8 << 20
    for number in range(60):
        demo.memory.physical.write(UNUSED, bytes([number + 1]) * (64 << 10))
        demo.run(instructions=1000)
    assert demo.timeline.start > 20_000
    with pytest.raises(MachineError, match="branch-1 was thrown away"):
        demo.timeline.go(None, "branch-1")


def test_names(demo: Machine) -> None:
    demo.timeline.go(20_000)
    poke(demo, 1)
    demo.timeline.rename_branch("fixed")
    with pytest.raises(MachineError, match="another branch is called main"):
        demo.timeline.rename_branch("main")
    with pytest.raises(MachineError, match="the guest is in fixed"):
        demo.timeline.drop_branch("fixed")
    demo.timeline.go(30_000, "main")
    demo.timeline.drop_branch("fixed")
    assert [branch.name for branch in demo.timeline.branches] == ["main"]
    with pytest.raises(MachineError, match="fixed was thrown away: it was deleted"):
        demo.timeline.go(None, "fixed")
