# SPDX-License-Identifier: GPL-2.0-or-later
"""Checkpoints: the machine is exactly as it was, whichever way the changed pages are found."""

import errno
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError
from armprobe.machine.memory import dirty_pages
from armprobe.machine.memory.dirty_pages import Comparison, DirtyPages, PrivateMapping
from armprobe.machine.native.pages import PAGE
from armprobe.machine.time.checkpoint import Checkpoint, Checkpoints

STEP = 400_000


@pytest.fixture(params=[PrivateMapping, Comparison])
def kind(request: pytest.FixtureRequest) -> type[DirtyPages]:
    if request.param is PrivateMapping and dirty_pages.best() is Comparison:
        pytest.skip("this host does not say which pages of a private mapping were written to")
    found: type[DirtyPages] = request.param
    return found


@pytest.fixture
def demo(kind: type[DirtyPages]) -> Machine:
    return following(machine.load("demo", memory="4M", history=False), kind)  # with no checkpoints but those below


def following(guest: Machine, kind: type[DirtyPages]) -> Machine:
    guest.checkpoints = Checkpoints(guest, kind)
    return guest


def state(guest: Machine) -> str:
    """A digest of memories and registers, by what a snapshot file has."""
    values = guest.state.save_for_file()
    values.pop("core0.run_loop")  # where the last run ended
    parts = [repr(sorted(values.items())).encode(), *(bytes(ram.data) for ram in guest.bus.rams)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def taken(guest: Machine, count: int) -> list[tuple[Checkpoint, str]]:
    """Checkpoints, each `STEP` instructions after the one before, and the states."""
    result = []
    for _ in range(count):
        guest.run(instructions=STEP)
        result.append((guest.checkpoints.take(), state(guest)))
    return result


def test_every_state_is_that_of_an_undisturbed_run(demo: Machine) -> None:
    """Restored in any order, and reached again by running on from any of them."""
    other = machine.load("demo", memory="4M")
    undisturbed = {}
    for _ in range(14):
        other.run(instructions=STEP)
        undisturbed[other.instructions] = state(other)
    checkpoints, choose = taken(demo, 10), random.Random(1)
    assert {point.position: at for point, at in checkpoints}.items() <= undisturbed.items()
    for point, at in choose.choices(checkpoints, k=20):
        demo.checkpoints.restore(point)
        assert (demo.instructions, state(demo)) == (point.position, at)
        demo.run(instructions=STEP * choose.choice([1, 2, 4]))
        assert state(demo) == undisturbed[demo.instructions]


def test_branches(demo: Machine) -> None:
    """A state that came of a write is a child of the checkpoint before it, and so is the state without that write."""
    (start, _), *plain = taken(demo, 3)
    demo.checkpoints.restore(start)
    demo.memory.write(demo.registers.sp - 64, b"written")
    demo.registers.x[28] = 0x1234
    branch = taken(demo, 3)
    assert {at for _, at in plain}.isdisjoint(at for _, at in branch)
    for point, at in [plain[1], branch[2], plain[0], branch[0], plain[1]]:
        demo.checkpoints.restore(point)
        assert state(demo) == at


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.sample
def test_the_others_outlive_a_checkpoint_that_is_dropped(demo: Machine, seed: int) -> None:
    choose, checkpoints = random.Random(seed), taken(demo, 4)
    for _ in range(3):
        demo.checkpoints.restore(choose.choice(checkpoints)[0])
        demo.memory.write(demo.registers.sp - 64, choose.randbytes(8))
        checkpoints += taken(demo, 3)
    choose.shuffle(checkpoints)
    while checkpoints:
        demo.checkpoints.drop(dropped := checkpoints.pop()[0])
        with pytest.raises(MachineError, match="was dropped"):
            demo.checkpoints.restore(dropped)
        for point, at in choose.sample(checkpoints, min(3, len(checkpoints))):
            demo.checkpoints.restore(point)
            assert state(demo) == at
    last = demo.checkpoints.take()  # the base is this one's now
    demo.checkpoints.drop(demo.checkpoints.take())
    demo.checkpoints.restore(last)
    assert demo.checkpoints.size < 2 * PAGE * len(last.pages), "what only those needed is free"


PATCHES_ITSELF = """
    adr x2, function
    movz w3, #0x0040            // mov x0, #2: D2800040
    movk w3, #0xd280, lsl #16
    mov x19, #0
    mov x20, #0
again:
    bl function
    add x20, x20, x0
    add x19, x19, #1
    cmp x19, #100
    b.ne again
    str w3, [x2]
    dc cvau, x2
    dsb sy
    ic ivau, x2
    dsb sy
    isb
    b again
    .balign 4096
function:
    mov x0, #1
    ret
"""


@pytest.mark.parametrize("by_guest", [True, False])
def test_code_that_changed_between_two_checkpoints_executes_as_it_was(
    bare: Callable[..., Machine], kind: type[DirtyPages], by_guest: bool
) -> None:
    """The function returns 1 in the first hundred rounds and then 2, as the program says; or when Python says so."""
    guest = following(bare(PATCHES_ITSELF), kind)
    again = guest.symbols["again"].address

    def total() -> int:
        rounds = guest.registers.x[19]
        guest.run(instructions=40)
        guest.run(until=again)
        assert guest.registers.x[19] > rounds
        return (guest.registers.x[20] - before) // (guest.registers.x[19] - rounds)

    guest.run(instructions=200)
    guest.run(until=again)
    early = guest.checkpoints.take()
    if by_guest:
        guest.run(instructions=1000)
        guest.run(until=again)
        assert guest.registers.x[19] > 100
    else:
        guest.memory.physical.write(guest.symbols["function"].address, 0xD2800040.to_bytes(4, "little"))
    late = guest.checkpoints.take()
    for point, each in [(early, 1), (late, 2), (early, 1), (early, 1), (late, 2), (late, 2)]:
        guest.checkpoints.restore(point)
        before = guest.registers.x[20]
        assert total() == each


def test_memory_written_past_the_machine_comes_back(demo: Machine) -> None:
    """As a script, or a device of its own, may write it: through the memoryview."""
    page = demo.ram.data[-PAGE:]
    page[:4] = b"old!"
    point = demo.checkpoints.take()
    page[:4] = b"new!"
    demo.checkpoints.restore(point)
    assert page[:4].tobytes() == b"old!"


def test_reset_after_checkpoints(demo: Machine, kind: type[DirtyPages], tmp_path: Path) -> None:
    """Gives what loading the guest gives, for a file with a snapshot as well."""
    fresh = state(demo)
    demo.run(instructions=STEP)
    demo.save(tmp_path / "saved")
    (point, at), *_ = taken(demo, 2)
    demo.reset()
    assert state(demo) == fresh
    demo.checkpoints.restore(point)
    assert state(demo) == at
    resumed = following(machine.load(tmp_path / "saved"), kind)
    fresh = state(resumed)
    (point, at), *_ = taken(resumed, 2)
    resumed.reset()
    assert state(resumed) == fresh
    resumed.checkpoints.restore(point)
    assert state(resumed) == at


def test_thinned_to_a_bound(demo: Machine) -> None:
    """Of those at equal distances, more are left among the younger; none is lost that was to be kept."""
    checkpoints = taken(demo, 30)
    kept = [point for point, _ in checkpoints]
    demo.checkpoints.bound = demo.checkpoints.size // 2
    pinned = kept[7]
    dropped = demo.checkpoints.thin(kept, {pinned})
    assert demo.checkpoints.size <= demo.checkpoints.bound
    left = [(point, at) for point, at in checkpoints if point not in dropped]
    assert {kept[0], pinned, kept[-1]} <= {point for point, _ in left}
    older = sum(point.position < kept[15].position for point, _ in left)
    assert 2 <= older < len(left) - older
    for point, at in random.Random(3).sample(left, 4):
        demo.checkpoints.restore(point)
        assert state(demo) == at
    demo.checkpoints.bound = 0
    demo.checkpoints.thin([point for point, _ in left])
    assert [point for point, _ in left if not point.dropped] == [kept[0], kept[-1]]


def test_spilled_to_disk(demo: Machine, tmp_path: Path) -> None:
    checkpoints = taken(demo, 3)
    demo.checkpoints.spill(tmp_path)
    checkpoints += taken(demo, 3)
    assert demo.checkpoints.size < PAGE * sum(len(point.pages) for point, _ in checkpoints)
    assert not list(tmp_path.iterdir()), "the file has no name, so it goes with the process"
    for point, at in random.Random(2).sample(checkpoints, 6):
        demo.checkpoints.restore(point)
        assert state(demo) == at


def test_a_full_disk_changes_nothing(demo: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.checkpoints.spill(tmp_path)
    (point, at), *_ = taken(demo, 2)
    demo.ram.data[-200 * PAGE :] = bytes(range(1, 251)) * (200 * PAGE // 250) + bytes(200 * PAGE % 250)
    now = state(demo)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(MachineError, match="No space left"):
            demo.checkpoints.take()
        assert state(demo) == now
    demo.checkpoints.restore(point)
    assert state(demo) == at


def test_refused(demo: Machine) -> None:
    """A checkpoint of another machine, and one that is taken in a handler."""
    other = machine.load("demo", memory="4M")
    with pytest.raises(MachineError, match="another machine"):
        demo.checkpoints.restore(other.checkpoints.take())
    with pytest.raises(MachineError, match="taken from only"):
        demo.restore(other.snapshot())
    refused = []

    def handler(*_: object) -> bool:
        with pytest.raises(MachineError, match="handler"):
            demo.checkpoints.take()
        refused.append(True)
        demo.registers.pc += 4
        return True

    demo.claim_brk(0x77, handler)
    demo.memory.write(demo.registers.pc, (0xD4200000 | 0x77 << 5).to_bytes(4, "little"))
    demo.run(instructions=1)
    assert refused


@pytest.mark.parametrize("pagemap", ["/nowhere/pagemap", "/dev/zero"])
def test_a_host_without_pagemap(pagemap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such file, or it does not say what it should: memory is compared."""
    monkeypatch.setattr(dirty_pages, "PAGEMAP", pagemap)
    dirty_pages._pagemap_works.cache_clear()
    try:
        assert dirty_pages.best() is Comparison
    finally:
        monkeypatch.undo()
        dirty_pages._pagemap_works.cache_clear()


WRITES_THE_SAME = """
    mov x1, #0x40200000
    mov x0, #7
    str x0, [x1]
    .rept 200
    nop
    .endr
    str x0, [x1]
    .rept 200
    nop
    .endr
    str x0, [x1]
    .rept 200
    nop
    .endr
    b .
"""
WRITES = 2, 203, 404  # the instructions before each


def test_a_write_of_what_was_there_is_found(bare: Callable[..., Machine], kind: type[DirtyPages]) -> None:
    """A comparison sees no change between the checkpoints around it, which are not to pass for ones without a write."""
    guest = following(bare(WRITES_THE_SAME), kind)
    for position in (100, 300, 350, 500, 600):
        guest.run(instructions=position - guest.instructions)
        guest.timeline.take()
    for last in reversed(WRITES):
        write = guest.timeline.last_write(0x4020_0000, 8)
        assert write is not None
        assert (write.position, write.value) == (last, 7)
        guest.timeline.go(last)


def test_a_page_that_has_changed_counts_as_written_once_more(demo: Machine) -> None:
    """Unless that is to be known exactly. A comparison never knows it."""
    checkpoints, page = demo.checkpoints, demo.ram.data[-PAGE:]
    numbers, untouched = checkpoints.pages_of(demo.ram.end - PAGE, PAGE), []
    checkpoints.take()  # the first makes all pages the file's
    for exact in (False, True):
        page[:4] = b"new!" if exact else b"old!"
        before = checkpoints.take(exact)
        for _ in range(2):
            after = checkpoints.take()
            untouched.append(checkpoints.is_untouched(numbers, before.position, before, after))
            before = after
    assert untouched == ([False, True, True, True] if checkpoints._exact else [False] * 4)
