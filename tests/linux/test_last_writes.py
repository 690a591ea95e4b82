# SPDX-License-Identifier: GPL-2.0-or-later
"""The last write to random memory of a stock kernel is that of a log that was kept while the guest ran.

The memory is that of structures, stacks and page tables, and a page that a program has mapped twice.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import unicorn

from armprobe.machine import Machine, MachineError
from armprobe.machine.memory.mmu import OUTPUT, PAGE
from tests.identity import run_to  # tests have no import name to go by
from tests.linux.load import load
from tests.linux.shell import Shell
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

ADDRESSES = 500 if AT_LENGTH else 8
INSTRUCTIONS = 20_000_000 if AT_LENGTH else 300_000
SPACING = INSTRUCTIONS // 10  # of checkpoints
WRITTEN = 0.8  # the share of words that were written
DC_ZVA, BLOCK = 0xD50B_7420, 64  # without its register; DCZID_EL0 (Arm ARM, C6.2, DC)
STACK = 16 << 10  # THREAD_SIZE with 4 KiB pages (arch/arm64/include/asm/memory.h)
PROGRAM = Path(__file__).parent / "twice.c"


@pytest.fixture
def program(tool: Callable[[str, str], str], tmp_path: Path) -> bytes:
    path = tmp_path / "twice"
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    flags = ["-O1", "-ffreestanding", "-nostdlib", "-static", "-no-pie", "-Wl,-z,max-page-size=4096", "-s"]
    subprocess.run([compiler, *flags, "-o", str(path), str(PROGRAM)], check=True)
    return path.read_bytes()


Word = tuple[int, int]
"""The virtual and the physical address of a doubleword."""


class Log:
    """The position and the instruction of the last write to each doubleword of memory, by its physical address."""

    def __init__(self, guest: Machine) -> None:
        self.last: dict[int, tuple[int, int]] = {}
        self._guest, ram = guest, guest.ram
        self._hook = guest.core.engine.hook_add(
            unicorn.UC_HOOK_MEM_WRITE, self._written, None, ram.base, ram.base + ram.size - 1
        )
        guest.core.forget_translations()

    def close(self) -> None:
        self._guest.core.engine.hook_del(self._hook)
        self._guest.core.forget_translations()

    def _written(self, engine: object, access: int, at: int, width: int, value: int, _: object) -> None:
        guest = self._guest
        guest.core.context.load()
        pc = guest.core.context.pc
        # Where all memory is hooked, the engine tells of the byte that DC ZVA addresses, not of the rest of the block.
        # Its TLB is in use here, so the instruction is found by a walk of the guest's tables.
        if (
            width == 1
            and int.from_bytes(guest.bus.read(guest.memory.translate(pc).physical, 4), "little") & ~31 == DC_ZVA
        ):
            at, width = at // BLOCK * BLOCK, BLOCK
        for word in range(at // 8, (at + width - 1) // 8 + 1):
            self.last[word * 8] = guest.instructions - 1, pc


def words(guest: Machine, begin: int, size: int) -> Iterator[Word]:
    """The doublewords of some memory."""
    for virtual in range(begin, begin + size, 8):
        if virtual == begin or virtual % PAGE == 0:
            offset = virtual - guest.memory.translate(virtual).physical
        yield virtual, virtual - offset


def page_tables(guest: Machine, root: int) -> Iterator[int]:
    """The virtual addresses of the tables of the lower half, 48 bits, from the one at virtual address `root` on."""
    linear = root - guest.memory.translate(root).physical
    tables = [(root, 0)]
    while tables:
        table, level = tables.pop()
        yield table
        for entry in memoryview(guest.memory.read(table, PAGE)).cast("Q") if level < 3 else ():
            if entry & 3 == 3:
                tables.append(((entry & OUTPUT) + linear, level + 1))


def memory(guest: Machine, mapped: list[int]) -> dict[str, list[Word]]:
    """Doublewords by the kind of memory. The guest is in the program, whose page is `mapped` at two addresses."""
    kernel = guest.kernel
    assert kernel is not None
    task_struct, mm_struct = kernel.types["task_struct"], kernel.types["mm_struct"]
    assert kernel.tasks is not None
    structures, stacks, tables = list[Word](), list[Word](), list[Word]()
    for task in kernel.tasks():
        structures += words(guest, task.address, task_struct.size)
        stacks += words(guest, guest.memory.u64(task.address + task_struct.offset("stack")), STACK)
        if mm := guest.memory.u64(task.address + task_struct.offset("mm")):
            structures += words(guest, mm, mm_struct.size)
            for table in page_tables(guest, guest.memory.u64(mm + mm_struct.offset("pgd"))):
                tables += words(guest, table, PAGE)
    twice = [word for address in mapped for word in words(guest, address, PAGE)]
    return {"structures": structures, "stacks": stacks, "page tables": tables, "mapped twice": twice}


def run_into(guest: Machine, mapped: list[int]) -> None:
    """Run on until the program is about to execute an instruction of its own: both addresses are of one page then."""

    def in_program() -> bool:
        if guest.registers["pstate"] & 15:  # not EL0
            return False
        try:
            return len({guest.memory.translate(address).physical for address in mapped}) == 1
        except MachineError:
            return False  # another program has nothing there

    while not in_program():
        run_to(guest, guest.instructions + 1001)


@pytest.mark.sample(of="tests")
def test_last_writes_are_those_of_a_log(guest: Machine, shell: Shell, program: bytes) -> None:
    random = chance()
    shell.put("/twice", program)
    shell.run(f"/twice > /tmp/mapped & {load()}")
    mapped = [int(line, 16) for line in shell.run("cat /tmp/mapped").split()]
    guest.timeline.pacing.spacing = SPACING
    guest.restore(guest.snapshot())  # the history begins here
    log = Log(guest)
    run_to(guest, guest.instructions + INSTRUCTIONS)
    run_into(guest, mapped)
    log.close()
    end = guest.instructions
    found = []
    for kind, of_kind in memory(guest, mapped).items():
        written = [word for word in of_kind if word[1] in log.last]
        print(f"{kind}: {len(of_kind)} words, {len(written)} written")
        for _ in range(ADDRESSES // 4):
            address, physical = random.choice(written if random.random() < WRITTEN else of_kind)
            write = guest.timeline.last_write(address, 8)
            expected = log.last.get(physical)
            assert (None if write is None else (write.position, write.pc)) == expected, (kind, hex(address))
            if write is not None:
                first, last = max(address, write.address), min(address + 8, write.address + write.size)
                value = write.value.to_bytes(write.size, "little")[first - write.address : last - write.address]
                assert guest.memory.read(first, last - first) == value
                found.append(write)
    assert len(found) >= ADDRESSES // 2
    assert (guest.instructions, guest.timeline.live) == (end, True)
