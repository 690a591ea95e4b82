# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files, memory areas, slabs, interrupts, timers and system calls are what stock kernels' own /proc shows."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.kernel import Linux
from armprobe.machine import Machine, MachineError
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.guests import at_shell
from tests.oracle.references import REFERENCES, fetch

MUTATIONS = int(os.environ.get("ARMPROBE_FUZZ", "600"))
QUICK = 1.0  # seconds of CPU time that an answer may take
SLEEPER = "exec 3</proc/version 4>>/tmp/gone 5<>/tmp/x\\ y 6</ 7<>/dev/zero 8<'/a b/c'; rm /tmp/gone; exec sleep 9999"


@pytest.fixture(scope="module", params=REFERENCES)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with Session(at_shell(fetch(REFERENCES[request.param]))) as session:
        shell = Shell(session.machine)
        session.owner.call(shell.run, "mkdir -p '/a b' /tmp; mount -t tmpfs none '/a b'; echo hello > '/a b/c'")
        session.owner.call(shell.run, f'sh -c "{SLEEPER}" | cat & nc -l -p 99 > /dev/null & sleep 1')
        yield session


@pytest.fixture
def run(session: Session) -> Callable[[str], str]:
    shell = Shell(session.machine)
    return lambda line: session.owner.call(shell.run, line)


def pids(session: Session) -> dict[str, int]:
    """The numbers of the processes by name, the latest of each. The first one's name is another in 5.10."""
    return {task.comm: task.pid for task in session.ask("tasks")} | {"init": 1}


def test_files_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    seen = set[str]()
    for name in ("init", "sh", "sleep", "cat", "nc"):
        pid = pids(session)[name]
        # Of a child of the shell: the shell's own glob opens a folder.
        said = run(f"sh -c 'cd /proc/{pid}/fd; for f in *; do readlink $f; cat ../fdinfo/$f; done'; ls /proc/{pid}/fd")
        rows = session.ask(f"files {pid}")
        theirs = re.findall(r"^([^\n]+)\npos:\t(\d+)\nflags:\t(\d+)\n", said, re.MULTILINE)
        inodes = re.findall(r"^ino:\t(\d+)$", said, re.MULTILINE)  # since 5.14
        ours = sorted(rows, key=lambda row: str(row.fd))  # as the shell sorts names
        assert [(row.path, str(row.position), f"0{row.flags:o}") for row in ours] == theirs, name
        assert not inodes or [str(row.inode) for row in ours] == inodes
        assert [str(row.fd) for row in ours] == sorted(said.split()[-len(ours) :])
        seen |= {re.sub(r"\d+", "N", row.path) for row in rows}
    assert {"/tmp/gone (deleted)", "/tmp/x y", "/a b/c", "/", "/proc/version", "pipe:[N]", "socket:[N]"} <= seen
    assert session.run("files 2") == "the task has no open files\n"
    assert re.search(
        r"^ +8 +00 +0 +\d+  /a b/c$|^ +8 +0400000 +0 +\d+  /a b/c$",
        session.run(f"files {pids(session)['sleep']}"),
        re.M,
    )


def test_areas_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    for name in ("init", "sh", "sleep", "nc"):
        pid = pids(session)[name]
        assert session.run(f"maps {pid}") == run(f"cat /proc/{pid}/maps")
    assert {"[heap]", "[stack]", "[vdso]", "/bin/busybox"} <= {row.name for row in session.ask("maps 1")}
    assert session.ask("maps 2") == ()


def refused(session: Session, command: str, since: tuple[int, int]) -> bool:
    """Whether the kernel is of a version whose structures are others. The command says so in a sentence."""
    version = session.machine.kernel.version if session.machine.kernel is not None else None
    if version is None or version < since:
        return False
    with pytest.raises(CommandError, match=r"^the guest's .* cannot be read: this kernel's type information has no "):
        session.run(command)
    return True


def test_slabs_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """A reader of /proc/slabinfo allocates itself: counts are compared of caches that two readings agree on."""
    if refused(session, "slabs", (7, 0)):
        return
    said = run("cat /proc/slabinfo > /tmp/1; cat /proc/slabinfo > /tmp/2; cat /tmp/1 /tmp/2").splitlines()
    first, second = said[: len(said) // 2], said[len(said) // 2 :]
    ours = session.run("slabs").splitlines()
    assert ours[:2] == first[:2]

    def kinds(lines: list[str]) -> list[list[str]]:
        return [[line.split()[0], *line.split()[3:6]] for line in lines[2:]]

    assert kinds(ours) == kinds(second)
    stable = [(mine, theirs) for mine, theirs, earlier in zip(ours, second, first, strict=True) if theirs == earlier]
    assert len(stable) > 0.8 * len(ours)
    assert sum(mine != theirs for mine, theirs in stable) < 10
    (files,) = (row for row in session.ask("slabs") if row.name == "sock_inode_cache")
    assert 0 < files.active <= files.objects == files.slabs * files.per_slab


def test_interrupts_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """All lines of numbered ones, but that more timer interrupts have occurred meanwhile."""
    said = run("cat /proc/interrupts").splitlines()
    theirs = [line for line in said if not re.match(r"(IPI|Err)", line.strip())]
    ours = session.run("irqs").splitlines()
    assert len(ours) == 4
    version = session.machine.kernel.version if session.machine.kernel is not None else None
    # From v7 on the columns are as wide as what is in them.
    shape: Callable[[str], object] = str.split if version is not None and version >= (7,) else str
    for mine, line in zip(ours, theirs, strict=True):
        if (count := re.match(r" *\d+: +(\d+)", line)) and "arch_timer" in line:
            later = re.match(r" *\d+: +(\d+)", mine)
            assert later is not None
            assert int(count[1]) <= int(later[1]) < int(count[1]) + 1000
            mine, line = mine[later.end() :], line[count.end() :]
        if "uart" not in line:  # which sends what is compared
            assert shape(mine) == shape(line)
    assert [row.actions for row in session.ask("irqs")] == [("arch_timer",), ("uart-pl011",), ("rtc-pl031",)]


def timers(session: Session) -> list[tuple[int, str, int, int, int]]:
    """Clock, function, state, and the times of each timer."""
    return [(row.clock, row.function, row.state, row.soft_expires, row.expires) for row in session.ask("timers")]


def test_timers_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """Those that expire only in some seconds, as others do so while the list is printed."""
    if refused(session, "timers", (7, 0)):
        return
    before = timers(session)
    said = run("cat /proc/timer_list")
    now = int(re.findall(r"now at (\d+)", said)[0])
    theirs = [
        (int(clock), function, int(state, 16), int(soft), int(hard))
        for clock, timers in re.findall(r" clock (\d):\n(.*?)(?= clock|  .expires_next)", said, re.DOTALL)
        for function, state, soft, hard in re.findall(
            r" #\d+: <\w+>, (\w+), S:(\w\w)\n # expires at (\d+)-(\d+) nsecs", timers
        )
    ]
    lasting = [row for row in theirs if row[4] > now + 500_000_000]
    ours = [row for row in timers(session) if row[4] > now + 500_000_000 and row in before]  # not set anew meanwhile
    assert len(ours) >= 2
    assert [row for row in lasting if row in before and row in timers(session)] == ours
    assert {row.clock_name for row in session.ask("timers")} <= {"ktime_get", ""}
    assert " # expires at " in session.run("timers")


def test_system_calls_are_those_of_the_headers(session: Session) -> None:
    """By the numbers of include/uapi/asm-generic/unistd.h, as this system's compiler for arm64 has them."""
    headers = Path("/usr/aarch64-linux-gnu/include/asm/unistd.h")
    if not headers.exists():
        pytest.skip(
            "the headers of arm64's C library are not installed (Debian: apt-get install gcc-aarch64-linux-gnu)"
        )
    command = ["aarch64-linux-gnu-gcc", "-E", "-dM", str(headers)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", said, re.MULTILINE)}
    del numbers[max(number for number, name in numbers.items() if name == "syscalls")]  # their number
    rows = session.ask("syscalls")
    assert [row.number for row in rows] == list(range(len(rows)))
    assert len(rows) > 430
    named = {"fstat": "newfstat", "newfstatat": "newfstatat", "umount2": "umount", "uname": "newuname"}
    named |= {"sendfile": "sendfile64", "getrlimit": "getrlimit", "renameat": "renameat", "fadvise64": "fadvise64_64"}
    named |= {"prlimit64": "prlimit64", "pread64": "pread64", "personality": "arm64_personality"}
    compared = 0
    for row in rows:
        if row.implemented and row.number in numbers:
            name = numbers[row.number]
            assert row.name in (name, named.get(name), f"{name}64", name.removesuffix("64")), (row, name)
            compared += 1
    assert compared > 280
    assert session.machine.symbols["__arm64_sys_openat"].address == rows[56].address


def test_refusals(session: Session) -> None:
    for line in ("files 99999", "maps 99999"):
        with pytest.raises(CommandError, match="the guest has no task 99999"):
            session.run(line)


def test_damaged(session: Session, run: Callable[[str], str]) -> None:
    """Whatever the memory of these holds, an answer or one sentence comes soon."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance, machine = random.Random(seed), session.machine
    kernel = machine.kernel
    assert isinstance(kernel, Linux)
    assert kernel.tasks is not None
    sleeper = next(task for task in kernel.tasks() if task.comm == "sleep")
    readers: list[Callable[[], object]] = [
        lambda: kernel.open_files(sleeper),
        lambda: kernel.memory_areas(sleeper),
        kernel.interrupts,
        kernel.system_calls,
    ]
    if (kernel.version or (0,)) < (7,):
        readers += [kernel.slab_caches, kernel.timers]
    refused, said = 0, ""
    for number in range(MUTATIONS):
        read = readers[number % len(readers)]
        places = recorded(machine, read)
        place = chance.choice(places)
        other = chance.choice(places)
        before = machine.memory.read(place, 8)
        value = chance.choice([0, 1, place, place + 1, other, other + 2, chance.getrandbits(64), (1 << 64) - 8])
        machine.memory.put(place, value.to_bytes(8, "little"))
        start = time.process_time()
        try:
            read()
        except MachineError as error:
            refused += 1
            said = str(error)
        assert "\n" not in said
        assert time.process_time() - start < QUICK, (seed, number, hex(place), hex(value))
        machine.memory.put(place, before)
    assert 0 < refused < MUTATIONS


def recorded(machine: Machine, read: Callable[[], object]) -> list[int]:
    """The addresses of the words in data that an answer is made from."""
    memory, places = machine.memory, set[int]()
    real = memory.read

    def reading(address: int, size: int) -> bytes:
        data = real(address, size)
        places.add(address & ~7)  # of what can be read
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "read", reading)
        patch.setattr(memory, "u64", lambda address: int.from_bytes(reading(address, 8), "little"))
        read()
    text = range(machine.symbols["_stext"].address, machine.symbols["_etext"].address)
    return sorted(place for place in places if place not in text)
