# SPDX-License-Identifier: GPL-2.0-or-later
"""Histories in files: whoever loads one is, at each position of each branch, where the machine was that saved it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs
from tests.memories import digest

from .test_input import Button

UNUSED = 0x4030_0000
SEED = 15


def state(guest: Machine) -> tuple[object, ...]:
    registers = tuple(
        guest.registers[name] for name in (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate", "elr_el1")
    )
    return registers, guest.instructions, guest.clock.now, digest(guest.ram.data)


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.timeline.pacing.spacing = 30_000
    guest.run(until="workload_round")
    return guest


def write_memory(guest: Machine) -> None:
    guest.memory.write(guest.registers.sp - 256, b"from outside")


def write_registers(guest: Machine) -> None:
    guest.registers.x[9] = 0x1234_5678
    guest.registers["v3"] = 1 << 100


def type_text(guest: Machine) -> None:
    guest.console.write(b"typed")


def call(guest: Machine) -> None:
    guest.call("strlen", guest.symbols["strlen"].address)


def skip(guest: Machine) -> None:
    guest.skip_to(guest.clock.now + 5000)


ACTIONS: list[Callable[[Machine], None]] = [write_memory, write_registers, type_text, call, skip]


def travelled(guest: Machine, chance: random.Random) -> dict[tuple[str, int], tuple[object, ...]]:
    """Run with all kinds of input, in three branches. What the guest was at some positions."""
    seen: dict[tuple[str, int], tuple[object, ...]] = {}
    for turn in range(3):
        if turn:
            guest.timeline.go(chance.choice([position for _, position in seen]))
            guest.memory.physical.write(UNUSED, bytes([turn]))
        for action in chance.sample(ACTIONS, len(ACTIONS)):
            guest.run(instructions=chance.randrange(1, 50_000))
            action(guest)
            guest.step(chance.randrange(1, 9))
            seen[guest.timeline.branch, guest.instructions] = state(guest)
    guest.timeline.marks["here"] = guest.instructions
    return seen


def test_each_position_of_each_branch_is_what_it_was(demo: Machine, tmp_path: Path) -> None:
    """Saved at the end of the history, and loaded by another machine."""
    chance = random.Random(SEED)
    seen = travelled(demo, chance)
    before, branches = state(demo), demo.timeline.branches
    demo.save(tmp_path / "saved", history=True)
    assert state(demo) == before
    assert demo.timeline.live
    other = machine.load(tmp_path / "saved")
    assert state(other) == before
    assert other.timeline.live
    assert (other.timeline.start, other.timeline.end) == (demo.timeline.start, demo.timeline.end)
    assert other.timeline.branches == branches
    assert other.timeline.marks == demo.timeline.marks
    visits = list(seen)
    chance.shuffle(visits)
    for branch, position in visits:
        other.timeline.go(position, branch)
        assert state(other) == seen[branch, position], (branch, position)
    other.timeline.go(None, "branch-2")
    other.run(instructions=20_000)
    demo.run(instructions=20_000)
    assert state(other) == state(demo)


def test_it_is_saved_in_the_past_and_from_a_file_again(demo: Machine, tmp_path: Path) -> None:
    chance = random.Random(SEED + 1)
    seen = travelled(demo, chance)
    branch, position = chance.choice(list(seen))
    demo.timeline.go(position, branch)
    demo.save(tmp_path / "first", history=True)
    other = machine.load(tmp_path / "first")
    assert (other.timeline.branch, other.timeline.position, other.timeline.live) == (branch, position, False)
    other.save(tmp_path / "second", history=True)
    third = machine.load("demo", memory="4M")
    third.resume(tmp_path / "second")
    for (name, at), expected in seen.items():
        third.timeline.go(at, name)
        assert state(third) == expected, (name, at)
    third.timeline.go(position, branch)
    third.memory.physical.write(UNUSED, b"new")  # begins a branch there, of another name than there are
    assert third.timeline.branch not in {name for name, _ in seen}


def test_what_handlers_changed_is_there_without_them(demo: Machine, tmp_path: Path) -> None:
    """Also a checkpoint with a call that a kretprobe waited for is of no use to others."""
    kprobes = Kprobes(demo)

    def pre(probe: object, regs: object) -> None:
        regs.regs[9] = 0xABCD  # type: ignore[attr-defined]
        demo.memory.physical.write(UNUSED, b"changed")

    def returned(instance: object, regs: object) -> None:
        regs.regs[0] ^= 1  # type: ignore[attr-defined]

    probes = [
        kprobes.register_kprobe(Kprobe("cmp_u32", pre_handler=pre)),
        kprobes.register_kretprobe(Kretprobe("strlen", handler=returned)),
    ]
    demo.restore(demo.snapshot())
    seen = {}
    for _ in range(12):
        demo.run(instructions=20_000)
        demo.timeline.take()
    with pytest.raises(MachineError, match="the guest has probes in it"):
        demo.save(tmp_path / "saved", history=True)
    assert not (tmp_path / "saved").exists()
    for probe in probes:
        kprobes.unregister(probe)
    demo.run(instructions=5000)
    for position in range(demo.timeline.start + 1, demo.timeline.end, 17_001):
        demo.timeline.go(position)
        seen[position] = state(demo)[1:3], demo.memory.physical.read(UNUSED, 7)
    demo.timeline.go(None)
    demo.save(tmp_path / "saved", history=True)
    other = machine.load(tmp_path / "saved")
    for position, expected in seen.items():
        other.timeline.go(position)
        assert (state(other)[1:3], other.memory.physical.read(UNUSED, 7)) == expected
    other.timeline.go(None)
    assert state(other) == state(demo)


def test_questions_are_answered_as_before(demo: Machine, tmp_path: Path) -> None:
    demo.run(instructions=150_000)
    address = demo.registers.sp - 64
    demo.save(tmp_path / "saved", history=True)
    other = machine.load(tmp_path / "saved")
    assert other.timeline.last_write(address, 8) == demo.timeline.last_write(address, 8) != None  # noqa: E711
    assert other.timeline.calls("strlen") == demo.timeline.calls("strlen") != []
    for guest in (demo, other):
        guest.breakpoints.add(guest.symbols["kfree"].address)
    assert demo.timeline.reverse_continue().reason is StopReason.BREAKPOINT
    other.timeline.reverse_continue()
    assert state(other) == state(demo)


def test_without_history_there_is_none(demo: Machine, tmp_path: Path) -> None:
    at = demo.instructions
    demo.save(tmp_path / "without")
    assert machine.load(tmp_path / "without").timeline.start == at
    demo.save(tmp_path / "with", history=True)
    with_none = machine.load(tmp_path / "with", history=False)
    with pytest.raises(MachineError, match="keeps no history"):
        with_none.timeline.go(0)
    with pytest.raises(MachineError, match="keeps no history"):
        with_none.save(tmp_path / "again", history=True)
    assert state(with_none) == state(demo)


def test_a_device_of_the_users_is_asked_for(demo: Machine, tmp_path: Path) -> None:
    button = demo.devices.add(Button())
    demo.run(instructions=10_000)
    assert isinstance(button, Button)
    button.press()
    demo.run(instructions=10_000)
    demo.save(tmp_path / "saved", history=True)
    other = machine.load(tmp_path / "saved")
    with pytest.raises(MachineError, match="the guest has a device 'button': add it to the machine's devices"):
        other.timeline.go(demo.timeline.start)
    assert state(other) == state(demo)
    other.devices.add(Button())
    demo.timeline.go(demo.instructions - 5000)
    other.timeline.go(demo.instructions)
    assert state(other) == state(demo)


@pytest.mark.parametrize("handler", [None, lambda instance, regs: None])
def test_calls_that_kretprobes_waited_for_return_by_themselves(
    demo: Machine, tmp_path: Path, handler: Callable[[KretprobeInstance, PtRegs], object] | None
) -> None:
    """The guest in the file is one that never had a kretprobe, at each position and from then on."""
    plain = machine.load("demo", memory="4M")
    plain.run(until="workload_round")
    kprobes = Kprobes(demo)
    rps = [kprobes.register_kretprobe(Kretprobe(name, handler=handler)) for name in ("slab_round", "kmalloc")]
    for guest in demo, plain:
        guest.run(until="kmem_cache_alloc")
        guest.run(instructions=3)
    assert len(kprobes.outstanding) == 2
    for rp in rps:
        kprobes.unregister(rp)
    demo.save(tmp_path / "saved", history=True)
    assert not kprobes.outstanding
    other = machine.load(tmp_path / "saved")
    for guest in demo, other:
        assert state(guest) == state(plain)
        guest.timeline.go(guest.instructions - 5)
        guest.timeline.go(guest.timeline.end)
        assert state(guest) == state(plain)
    for guest in demo, other, plain:
        guest.run(instructions=100_000)
    assert state(demo) == state(other) == state(plain)
