# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots in files: a guest goes on from one as it would have without, and no file harms the process.

What a guest does after it was saved and loaded is compared with what it does unsaved.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.machine.core import cpu_state
from armprobe.machine.loaders.snapshot_file import read_ahead
from tests.machine.snapshot_format import Parts, whole  # tests have no import name to go by

MEMORY = "16M"
Bare = Callable[..., Machine]


@pytest.fixture
def demo() -> Machine:
    return machine.load("demo", memory=MEMORY)


def state(guest: Machine) -> tuple[object, ...]:
    """Everything of a machine that a guest could tell apart."""
    memory = tuple(hashlib.sha256(ram.data).hexdigest() for ram in guest.bus.rams)
    return guest.instructions, guest.clock.now, cpu_state.read(guest.core), memory


def test_save_and_load(demo: Machine, tmp_path: Path) -> None:
    demo.run(instructions=3_000_000)
    path = tmp_path / "demo.snapshot"
    demo.save(path)
    demo.run(instructions=4_000_000)
    other = machine.load(path)
    assert other.symbols["kfree"] == demo.symbols["kfree"]
    other.run(instructions=4_000_000)
    assert state(other) == state(demo)
    other.reset()
    assert other.instructions == 3_000_000
    other.run(instructions=4_000_000)
    assert state(other) == state(demo)


# A little of all that a CPU keeps: results depend on the rounding mode, the exclusive monitor, sticky FP flags, event
# counters, the pointer of each exception level, and a breakpoint of the guest's own, which the handler at 0x200 counts.
EVERYTHING = """
    mov x0, #3 << 20
    msr cpacr_el1, x0
    adr x0, vectors
    msr vbar_el1, x0
    mov x0, #1 << 22
    msr fpcr, x0                // towards plus infinity
    adr x9, word
    mov x1, #5
    str x1, [x9]
1:  ldxr x2, [x9]
    fmov d0, #1.0
    add x2, x2, #1
    fmov d1, #3.0
    stxr w3, x2, [x9]
    cbnz w3, 1b
    ldxp x4, x5, [x9]
    fdiv d2, d0, d1             // inexact
    stxp w6, x5, x4, [x9]
    msr fpcr, xzr
    fdiv d3, d0, d1
    mrs x7, fpsr
    mov x0, #0x4321
    msr tpidr_el0, x0
    msr pmselr_el0, xzr
    mov x0, #2
    msr pmuserenr_el0, x0
    mrs x8, pmuserenr_el0
    msr oslar_el1, xzr
    adr x0, 2f
    msr dbgbvr1_el1, x0
    mov x0, #0x1e7
    msr dbgbcr1_el1, x0
    mov x0, #0xa000             // MDE, KDE
    msr mdscr_el1, x0
    msr daifclr, #8
    isb
    mov x20, #0
2:  add x20, x20, #1            // the breakpoint
    msr dbgbcr1_el1, xzr
    mov x0, #0x4000
    msr sp_el0, x0
    msr spsel, #0
    mov x10, sp
    msr spsel, #1
    b .
    .balign 16
word: .quad 0, 7
    .balign 2048
vectors:
    .skip 0x200
    add x21, x21, #1
    mrs x22, esr_el1
    mrs x23, elr_el1
    add x23, x23, #4
    msr elr_el1, x23
    eret
"""
STEPS = 50


def test_memory_that_was_never_written_is_not_allocated(tmp_path: Path) -> None:
    """Linux counts the blocks of a file in memory, also those that were only read."""
    guest, path = machine.load("demo", memory="256M"), tmp_path / "saved"
    guest.run(instructions=1_000_000)
    guest.timeline.take()
    guest.run(instructions=1_000_000)

    def allocated() -> int:
        return sum(os.fstat(ram.pages.file).st_blocks * 512 for ram in guest.bus.rams if ram.pages.file is not None)

    before = allocated()
    assert 0 < before < 16 << 20
    guest.save(path)
    assert allocated() < before + (1 << 20)  # pages beside those that are filled
    guest.run(instructions=1_000_000)
    guest.resume(path)
    assert allocated() < before + (1 << 20)  # pages that have been written since
    assert state(guest) == state(machine.load(path))


def test_it_goes_on_from_anywhere(bare: Bare, tmp_path: Path) -> None:
    """Between any two instructions: also between a load and a store exclusive, and with a breakpoint armed."""
    whole = bare(EVERYTHING)
    whole.step(STEPS)
    assert whole.registers.x[2] == 6
    assert whole.registers.x[6] == 0
    assert whole.registers.x[10] == 0x4000
    assert (whole.registers.x[21], whole.registers.x[22] >> 26) == (1, 0x31), "Arm ARM, ESR_EL1: breakpoint, same level"
    saved = bare(EVERYTHING)
    for done in range(STEPS):
        saved.save(tmp_path / "snapshot")
        resumed = machine.load(tmp_path / "snapshot")
        resumed.step(STEPS - done)
        assert state(resumed) == state(whole), f"saved after {done} instructions"
        saved.step()


def test_a_restored_breakpoint_is_the_guests_again(bare: Bare) -> None:
    """The guest clears it after the snapshot. The engine's record of it is gone then: made anew, not freed twice."""
    guest = bare(EVERYTHING)
    guest.run(until=0x4000_0000 + 4 * 36)  # at the breakpoint, which is armed
    armed = guest.snapshot()
    for _ in range(3):
        guest.run(instructions=30)
        assert guest.registers.x[21] == 1
        assert guest.registers["esr_el1"] >> 26 == 0x31
        guest.restore(armed)
    assert guest.registers.x[21] == 0


def test_a_file_in_use_may_be_cut_short_or_written_to(demo: Machine, tmp_path: Path) -> None:
    """cp(1) over it does both. A mapping of it would end this process: SIGBUS, mmap(2)."""
    demo.run(instructions=3_000_000)
    path = tmp_path / "snapshot"
    demo.save(path)
    resumed = machine.load(path)
    with path.open("r+b") as file:
        file.write(b"\xff" * os.fstat(file.fileno()).st_size)
    os.truncate(path, 10)
    demo.run(instructions=4_000_000)
    resumed.run(instructions=4_000_000)
    assert state(resumed) == state(demo)
    resumed.reset()
    resumed.run(instructions=4_000_000)
    assert state(resumed) == state(demo)


def rewritten(path: Path, change: Callable[[Parts], None]) -> None:
    """Change the snapshot at `path` as somebody would who knows the format."""
    parts = Parts.of(path.read_bytes())
    change(parts)
    path.write_bytes(parts.to_bytes())


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "truncated":
            data = data[: len(data) // 2]
        case "empty header":
            data = data[:20]
        case "memory":
            data[data.rindex(b"demo kernel: AArch64")] ^= 1
        case "header":
            data[data.index(b'"crc": ') + 7] ^= 1
        case "register":
            data[data.index(b', "x1": ') - 1] ^= 1  # the last digit of x0
        case "symbol":
            data[data.index(b"workload_round")] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "it has another size than it says"),
        ("empty header", "it has no header"),
        ("memory", "the checksum of its ram is wrong"),
        ("header", "the checksum of its header is wrong"),
        ("register", "the checksum of its state is wrong"),
        ("symbol", "the checksum of its symbols is wrong"),
    ],
)
def test_damaged_snapshots(demo: Machine, tmp_path: Path, how: str, words: str) -> None:
    path = tmp_path / "snapshot"
    demo.run(instructions=2_000_000)
    demo.save(path)
    damaged(path, how)
    with pytest.raises(MachineError, match=words) as caught:
        machine.load(path)
    assert str(caught.value).isprintable()
    demo.save(path)  # it is one of ours, however damaged
    machine.load(path)


def test_a_file_that_was_read_ahead(demo: Machine, tmp_path: Path) -> None:
    """What was begun is what is loaded, though another file has the path by then. The next load reads that one."""
    path = tmp_path / "snapshot"
    demo.save(path)
    first = state(demo)
    read_ahead(path)
    demo.run(instructions=2_000_000)
    demo.save(path)
    assert state(machine.load(path)) == first
    assert state(machine.load(path)) == state(demo)


def test_damage_in_a_file_that_was_read_ahead(demo: Machine, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    demo.run(instructions=2_000_000)
    demo.save(path)
    damaged(path, "memory")
    read_ahead(path)
    with pytest.raises(MachineError, match="the checksum of its ram is wrong"):
        machine.load(path)
    damaged(path, "header")
    for begin in (read_ahead, machine.load):
        with pytest.raises(MachineError, match="the checksum of its header is wrong"):
            begin(path)
    demo.save(path)
    machine.load(path)


@pytest.mark.parametrize("version", [8, 10])
def test_other_versions(demo: Machine, tmp_path: Path, version: int) -> None:
    """Version 8 had its JSON at the same place."""
    path = tmp_path / "snapshot"
    demo.save(path)
    rewritten(path, lambda parts: parts.header.update(version=version))
    with pytest.raises(MachineError, match=f"is a snapshot of format {version}, this is format 9: make it again"):
        machine.load(path)


Section = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("state", lambda section: section.update(version=1), "has its state in version 1, this reads version 2: make"),
        ("ram", lambda section: section.update(version=0), "has its ram in version 0, this reads version 1: make"),
        ("symbols", lambda section: section.update(name="names"), "'sections' in it is not what it can be"),
        ("symbols", lambda section: section.update(size=65 << 20, filled=[]), "'symbols' in it is not what it can be"),
        ("ram", lambda section: section.update(size=(4 << 20) + 1, filled=[]), "'ram' in it is not what it can be"),
        ("scratch", lambda section: section.update(size=4096, filled=[]), "'scratch' in it is not what it can be"),
        ("ram", lambda section: section.update(filled=[[4096, 64], [0, 64]]), "'ram' in it is not what it can be"),
        ("state", lambda section: section.update(more=1), "'sections' in it is not what it can be"),
    ],
)
def test_each_section_is_checked(
    demo: Machine, tmp_path: Path, name: str, change: Callable[[Section], object], words: str
) -> None:
    path = tmp_path / "snapshot"
    demo.run(instructions=2_000_000)
    demo.save(path)
    parts = Parts.of(path.read_bytes())
    data = parts.to_bytes()
    (section,) = (section for section in parts.header["sections"] if section["name"] == name)
    change(section)
    contents = [*parts.contents.values()]
    path.write_bytes(whole(json.dumps(parts.header).encode(), [contents[-1], *contents[:-1]]))
    with pytest.raises(MachineError, match=words):
        machine.load(path)
    path.write_bytes(data)
    machine.load(path)


def test_sections_in_another_order_or_more_of_them(demo: Machine, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    demo.save(path)
    for change in (
        lambda sections: sections.reverse(),
        lambda sections: sections.append(sections[0]),
        lambda sections: sections.pop(),
    ):
        demo.save(path)
        rewritten(path, lambda parts, change=change: change(parts.header["sections"]))  # type: ignore[misc]
        with pytest.raises(MachineError, match="'sections' in it is not what it can be"):
            machine.load(path)


def test_a_part_of_the_state_is_checked(demo: Machine, tmp_path: Path) -> None:
    demo.save(tmp_path / "snapshot")
    rewritten(tmp_path / "snapshot", lambda parts: parts.state["clock"].update(idle=-1))
    with pytest.raises(MachineError, match=r"'clock\.idle' in it is not what it can be"):
        machine.load(tmp_path / "snapshot")


def test_another_build_of_the_engine_does_not_matter(demo: Machine, tmp_path: Path) -> None:
    demo.save(tmp_path / "snapshot")
    rewritten(tmp_path / "snapshot", lambda parts: parts.header.update(unicorn="9.9"))
    other = machine.load(tmp_path / "snapshot")
    assert state(other) == state(demo)
    assert other.run(instructions=1000).reason is StopReason.INSTRUCTIONS


def test_unwritable_snapshot(demo: Machine) -> None:
    with pytest.raises(MachineError, match="cannot write /proc/none/snapshot: there is no folder /proc/none"):
        demo.save(Path("/proc/none/snapshot"))
