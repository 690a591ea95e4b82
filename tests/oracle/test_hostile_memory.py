# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that lies: whatever the pages hold in which its kernel's structures are, each command answers soon.

They are a sample, on one kernel, or 100,000 on all (`make soak`).
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from armprobe.commands import CommandError, Session
from armprobe.kernel import Linux
from armprobe.kernel.btf import Btf
from armprobe.kernel.btf_kinds import MAGIC
from armprobe.machine import Machine
from tests.linux.shell import Shell
from tests.oracle.references import DEFAULT, REFERENCES
from tests.oracle.stock_modules import NAMES, guest_with_modules, insmod
from tests.soak import AT_LENGTH, chance

SERIES: Final = tuple(REFERENCES) if AT_LENGTH else (DEFAULT,)
MUTATIONS: Final = 100_000 // len(SERIES) if AT_LENGTH else 1_200
MUTATED_TYPES: Final = 400 // len(SERIES) if AT_LENGTH else 3
QUICK: Final = 1.0  # seconds of CPU time that an answer may take
PAGE: Final = 4096
TOP: Final = 1 << 64
LONGEST: Final = 500  # characters of a sentence
COMMANDS: Final = (
    *("tasks", "task {pid}", "backtrace {pid}", "files {pid}", "maps {pid}", "mounts {pid}"),
    *("dmesg", "modules", "slabs", "irqs", "timers", "timers wheel", "syscalls"),
    *("print init_task", "print *$task->mm", "print $task->real_parent->comm", "print jiffies"),
)


class Reads:
    """Notes the words that an answer is made from, and can change one in the midst of it."""

    def __init__(self, machine: Machine) -> None:
        memory = self._memory = machine.memory
        self.words = dict[int, None]()
        self.count = 0
        self.noting = False
        self.change_at: tuple[int, int, bytes] | None = None
        for owner, name in ((memory, "read"), (memory, "read_available"), (machine.core, "read_virtual")):
            setattr(owner, name, functools.partial(self._reading, getattr(owner, name)))

    def _reading(self, read: Callable[[int, int], bytes | None], address: int, size: int) -> bytes | None:
        self.count += 1
        if self.change_at is not None and self.count == self.change_at[0]:
            self._memory.put(*self.change_at[1:])
        data = read(address, size)
        if self.noting and data is not None:
            self.words.update(dict.fromkeys(range(address & ~7, address + size, 8)))
        return data


@pytest.fixture(params=SERIES)
def path(request: pytest.FixtureRequest) -> Path:
    return guest_with_modules(REFERENCES[request.param])


@pytest.fixture
def session(path: Path) -> Iterator[Session]:
    with Session(path, history=False) as session:
        yield session


def answer(session: Session, line: str) -> tuple[str, bool]:
    """What a command says, in time, and whether that is a refusal in one sentence."""
    start = time.process_time()
    try:
        said, refused = session.run(line), False
    except CommandError as error:
        said, refused = str(error), True
        assert 20 < len(said) < LONGEST, (line, said)
        assert "\n" not in said, (line, said)
    taken = time.process_time() - start
    assert taken < QUICK, f"{line} took {taken:.1f} s of CPU time: {said[:LONGEST]}"
    return said, refused


@pytest.mark.soak
@pytest.mark.sample(of="tests")
def test_structures(session: Session) -> None:
    """Words, whole pages, and words that change in the midst of an answer, as on a guest with another CPU."""
    random, machine = chance(), session.machine
    shell = Shell(machine)
    session.owner.call(insmod, shell, *NAMES)
    session.owner.call(shell.run, "sleep 1000 < /proc/version | cat & sleep 1")
    pid = next(task.pid for task in session.ask("tasks") if task.comm == "sleep")
    lines = [line.format(pid=pid) for line in COMMANDS]
    reads = Reads(machine)
    before, words, counts = {}, dict[str, list[int]](), dict[str, int]()
    for line in lines:
        answer(session, line)  # what is found once is found now
        reads.words.clear()
        reads.count, reads.noting = 0, True
        before[line] = answer(session, line)
        reads.noting = False
        words[line], counts[line] = list(reads.words), reads.count
    refused = 0
    for number in range(MUTATIONS):
        line = random.choice(lines)
        place = random.choice(words[line][: random.choice((100, 1000, None))])  # what leads to the rest is read first
        kind = random.randrange(16)
        if kind < 4:
            place = (place & -PAGE) + 8 * random.randrange(PAGE // 8)
        page = place & -PAGE
        kept = machine.memory.read(page, PAGE)
        mutant = value(random, kept[place - page :][:8], place, words[line])
        reads.count, reads.change_at = 0, None
        if kind == 4:
            place, mutant = page, random.randbytes(PAGE)
        if kind in (5, 6, 7):
            reads.change_at = random.randint(1, counts[line]), place, mutant
        else:
            machine.memory.put(place, mutant)
        try:
            refused += answer(session, line)[1]
        except BaseException:
            print(f"mutation {number} of {line}: {mutant[:8].hex()} at {place:#x}, at the read {reads.change_at}")
            raise
        reads.change_at = None
        machine.memory.put(page, kept)
    print(f"{refused} of {MUTATIONS} refused")
    assert 0 < refused < MUTATIONS
    assert {line: answer(session, line) for line in lines} == before


def value(random: Random, before: bytes, place: int, words: list[int]) -> bytes:
    """Another word: a circle, a wild pointer, a number that is out of its bounds, or one with a bit flipped."""
    there = int.from_bytes(before, "little")
    other = random.choice(words)
    new = random.choice(
        [
            *(0, 1, TOP - 8, place, place + 1, other, other + 2, other - 8 * random.randrange(64)),
            *(there ^ 1 << random.randrange(64), there ^ 1 << random.randrange(16)),
            *(random.getrandbits(64), random.randrange(64), there + random.choice((-8, 8, 1 << 32))),
        ]
    )
    return (new % TOP).to_bytes(8, "little")


@pytest.mark.soak
def test_types(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of the type information that says where all else is, in a guest of its own for each."""
    random, used = chance(), used_types(path, monkeypatch)
    refused = 0
    for number in range(MUTATED_TYPES):
        with Session(path, history=False) as session:
            machine = session.machine
            at = place_of_types(machine)
            types_at, types_size, strings_at, strings_size = struct.unpack("<4I", machine.bus.read(at + 8, 16))
            changes = []
            for _ in range(random.choice((1, 1, 2, 8))):
                kind = random.randrange(10)
                if kind == 0:
                    place = at + 4 * random.randrange(6)  # the header
                elif kind == 1:
                    place = at + 24 + strings_at + 4 * random.randrange(strings_size // 4)
                else:
                    place = at + 24 + types_at + random.choice(used) + 4 * random.randrange(12)
                there = int.from_bytes(machine.bus.read(place, 4), "little")
                new = random.choice(
                    [
                        *(0, 1, (1 << 32) - 1, there ^ 1 << random.randrange(32), there ^ 1 << random.randrange(8)),
                        *(random.getrandbits(32), random.randrange(types_size // 12), there + 1),
                    ]
                )
                changes.append((place, new % (1 << 32)))
                machine.bus.write(place, changes[-1][1].to_bytes(4, "little"))
            try:
                refused += sum(answer(session, line.format(pid=1))[1] for line in COMMANDS)
            except BaseException:
                print(f"mutation {number}: {[f'{place - at:#x} = {new:#x}' for place, new in changes]}")
                raise
    print(f"{refused} of {MUTATED_TYPES * len(COMMANDS)} refused")


def used_types(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the types that answers need."""
    used = set[int]()
    real = Btf.type_at

    def type_at(btf: Btf, at: int) -> tuple[int, int, int]:
        used.add(at)
        return real(btf, at)

    with Session(path, history=False) as session, monkeypatch.context() as patch:
        kernel = session.machine.kernel
        assert isinstance(kernel, Linux)
        assert isinstance(kernel.types, Btf)
        kernel.__dict__["types"] = Btf(bytes(kernel.types._data))  # in which nothing was found yet
        patch.setattr(Btf, "type_at", type_at)
        for line in COMMANDS:
            answer(session, line.format(pid=1))
    return sorted(used)


def place_of_types(machine: Machine) -> int:
    """The physical address of the kernel's BTF. Its magic is in the code that looks for it, too."""
    start = machine.memory.translate(machine.symbols["_stext"].address).physical - machine.ram.base
    return machine.ram.base + machine.ram.pages.find(MAGIC, start)
