# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files, memory areas, slabs, interrupts, timers and system calls are what stock kernels' own /proc shows."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.guests import at_shell
from tests.oracle.references import ASKED, EVERYTHING, FLAVOURED, REFERENCES, fetch

pytestmark = pytest.mark.sample(of="files")

SLEEPER = "exec 3</proc/version 4>>/tmp/gone 5<>/tmp/x\\ y 6</ 7<>/dev/zero 8<'/a b/c'; rm /tmp/gone; exec sleep 9999"


@pytest.fixture(scope="module", params=[*ASKED, *(FLAVOURED if EVERYTHING else ())])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with Session(at_shell(fetch((REFERENCES | FLAVOURED)[request.param]))) as session:
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


def test_names_and_tasks_are_those_of_the_guest(session: Session, run: Callable[[str], str]) -> None:
    """An argument by its name, the task by its fields, and the kernel's version, at a call that the shell makes.

    At a function that is not static: 5.10's type information names the arguments of no other.
    """
    file = "path->dentry->d_name.name"
    session.run(f'kprobe vfs_open if $comm == "cat" print "%s %d %s", {file}, $pid, init_uts_ns.name.release')
    said = run("sh -c 'echo $$; exec cat /proc/sys/kernel/osrelease'").split()
    notes = {hit.note for hit in session.kprobes.hits if hit.note}
    session.run("unregister 1")
    assert f"osrelease {' '.join(said)}" in notes


def test_areas_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    for name in ("init", "sh", "sleep", "nc"):
        pid = pids(session)[name]
        assert session.run(f"maps {pid}") == run(f"cat /proc/{pid}/maps")
    assert {"[heap]", "[stack]", "[vdso]", "/bin/busybox"} <= {row.name for row in session.ask("maps 1")}
    assert session.ask("maps 2") == ()


def test_mounts_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """The same lines, but for the options of each file system's own driver, which come last."""
    run("mkdir -p /tmp/m /tmp/n; mount -t tmpfs -o ro,nosuid,noexec 'x y' /tmp/m; mount --bind '/a b' /tmp/n")
    theirs, ours = run("cat /proc/mounts").splitlines(), session.run("mounts").splitlines()
    assert len(theirs) >= 8
    for mine, full in zip(ours, theirs, strict=True):
        assert full.startswith(mine.removesuffix(" 0 0"))
        assert full.split()[3].removeprefix(mine.split()[3]) == "" or full.split()[2] in ("rootfs", "tmpfs", "devtmpfs")
    assert ours[-2:] == [
        "x\\040y /tmp/m tmpfs ro,nosuid,noexec,relatime 0 0",
        "none /tmp/n tmpfs rw,relatime 0 0",
    ]
    assert session.run("mounts 2") == session.run("mounts")


def test_mounts_below_a_root_of_its_own(session: Session, run: Callable[[str], str]) -> None:
    """A task in a chroot sees those below it."""
    run("mkdir -p '/a b/bin' '/a b/proc'; cp /bin/busybox '/a b/bin'; mount -t proc none '/a b/proc'")
    pid = run("chroot '/a b' /bin/busybox sleep 9999 & sleep 1; echo of $!").split()[-1]
    theirs, ours = run(f"cat /proc/{pid}/mounts").splitlines(), session.run(f"mounts {pid}").splitlines()
    assert [line.split()[:3] for line in ours] == [line.split()[:3] for line in theirs]
    assert ["none", "/proc", "proc"] in [line.split()[:3] for line in ours]


def test_slabs_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """A reader of /proc/slabinfo allocates itself: counts are compared of caches that two readings agree on."""
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
    """All lines, but that more timer interrupts have occurred meanwhile."""
    theirs = run("cat /proc/interrupts").splitlines()
    ours = session.run("irqs").splitlines()
    assert len(ours) > 10
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
    rows = session.ask("irqs")
    assert [row.actions for row in rows[:3]] == [("arch_timer",), ("uart-pl011",), ("rtc-pl031",)]
    assert {row.actions for row in rows[3:]} == {("IPI",)}


def timers(session: Session) -> list[tuple[int, str, int, int, int]]:
    """Clock, function, state, and the times of each timer."""
    return [(row.clock, row.function, row.state, row.soft_expires, row.expires) for row in session.ask("timers")]


def test_timers_are_those_of_proc(session: Session, run: Callable[[str], str]) -> None:
    """Those that expire only in some seconds, as others do so while the list is printed."""
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


TIMER = re.compile(r"(timer_start|timer_cancel|timer_expire_entry): timer=(\w+)(?: function=(\w+) expires=(\d+))?")


def test_wheel_timers_are_those_of_the_guests_trace(session: Session, run: Callable[[str], str]) -> None:
    """Those that were started while it was traced, and neither cancelled nor called: all are there, and no others."""
    events = "/sys/kernel/tracing/events/timer"
    each = " ".join(("timer_start", "timer_cancel", "timer_expire_entry"))
    run(f"echo > {events}/../../trace; for e in {each}; do echo 1 > {events}/$e/enable; done; sleep 8 & sleep 3")
    said = run(f"for e in {each}; do echo 0 > {events}/$e/enable; done; cat {events}/../../trace")
    started, traced = dict[str, tuple[str, int]](), set[str]()
    for event, timer, function, expires in TIMER.findall(said):
        traced.add(timer)
        started.pop(timer, None)
        if event == "timer_start":
            started[timer] = function, int(expires)
    rows = session.ask("timers wheel")
    now = session.ask("print jiffies").number
    theirs = Counter(each for each in started.values() if each[1] > now)
    ours = Counter((row.function, row.expires) for row in rows)
    assert len(traced) > 3
    assert theirs.total() > 1
    assert theirs - ours == Counter()
    assert all(now - 1000 < row.clock <= now + 1 for row in rows)
    assert f"{rows[0].function}, flags:" in session.run("timers wheel")


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
