# SPDX-License-Identifier: GPL-2.0-or-later
"""crash for arm64, on what the command `vmcore` wrote, with the vmlinux of the kernel's -dbg package."""

from __future__ import annotations

import contextlib
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from armprobe.guests.linux.debian import DebianError, cache_directory, fetch_kernel, fetch_packages
from tests.debuggers.driver import DebuggerError
from tests.debuggers.tools.tool import Absent, Ask, Row, Subject, Tool
from tests.oracle.debug_kernel import debug_vmlinux
from tests.progress import progress

_END: Final = "that was all"
_LONGEST: Final = (
    1800.0  # seconds until it is given up; in emulation it takes some minutes to read the debug information
)
# crash before 8.0.4 finds two tasks only (docs/debuggers.md). The newest Debian has a later one.
_SUITE: Final = "sid"
_PACKAGES: Final = (
    "crash",
    "libc6",
    "libgcc-s1",
    "libgmp10",
    "liblzo2-2",
    "libmpfr6",
    "libncursesw6",
    "libsnappy1v5",
    "libstdc++6",
    "libtinfo6",
    "libzstd1",
    "zlib1g",
)


def _command() -> list[str]:
    """crash with the libraries that belong to it, on another computer than arm64 in QEMU's user-mode emulation."""
    root = cache_directory() / "debuggers" / "crash"
    if not root.is_dir():
        partial = root.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        fetch_packages(_PACKAGES, partial, progress, suite=_SUITE)
        (partial / "lib").symlink_to("usr/lib")  # where programs look for their loader
        partial.rename(root)
    program = str(root / "usr/bin/crash")
    if platform.machine() == "aarch64":
        libraries = root / "usr/lib/aarch64-linux-gnu"
        return [str(libraries / "ld-linux-aarch64.so.1"), "--library-path", str(libraries), program]
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        raise Absent("qemu-aarch64 is not installed (Debian: apt-get install qemu-user)")
    # Not QEMU's default CPU: that has pointer authentication, whose codes take most of the time to compute.
    return [emulator, "-cpu", "cortex-a72", "-L", str(root), program]


def _version() -> str:
    try:
        command = _command()
        debug_vmlinux(fetch_kernel())
    except DebianError as error:
        raise Absent(error.reason) from None
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    return said.strip().splitlines()[0]


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    vmcore = subject.folder / "guest.vmcore"
    subject.session.run(f"vmcore {vmcore}")
    words = [*_command(), "-s", "--no_scroll", str(debug_vmlinux(fetch_kernel())), str(vmcore)]
    # Not on a terminal, where it would show no prompt in QEMU 7.2: glibc's isatty() asks TCGETS2, which that lacks.
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        limit = threading.Timer(_LONGEST, process.kill)
        limit.start()

        def answer(line: str) -> str:
            with contextlib.suppress(BrokenPipeError):  # it has ended, which reading finds
                stdin.write(f"{line}\n!echo {_END}\n")
                stdin.flush()
            said = list[str]()
            while (text := stdout.readline()) != f"{_END}\n":
                if not text:
                    raise DebuggerError(f"crash has ended, or was given up, after {''.join(said)!r}")
                said.append(text)
            return "".join(said)

        try:
            yield answer
        finally:
            limit.cancel()
            process.kill()


def _system(subject: Subject, said: str) -> None:
    assert dict(re.findall(r"^ *([A-Z]+): (.*)$", said, re.MULTILINE))["RELEASE"] == subject.facts.release, said


def _tasks(subject: Subject, said: str) -> None:
    found = re.findall(r"^>? +(\d+) +\d+ +\d+ +[0-9a-f]{16} .* (\S+)$", said, re.MULTILINE)
    tasks = {0: "swapper/0", **subject.facts.tasks}
    assert {int(number) for number, _ in found} == tasks.keys(), said
    assert all(tasks[int(number)].startswith(name.strip("[]")) for number, name in found), said


def _log(subject: Subject, said: str) -> None:
    assert said.strip().splitlines() == subject.facts.said["dmesg"].strip().splitlines(), said


def _modules(subject: Subject, said: str) -> None:
    found = re.findall(r"^[0-9a-f]{16} +(\w+) +([0-9a-f]{16}) +(\d+) ", said, re.MULTILINE)
    assert {name: (int(base, 16), int(size)) for name, base, size in found} == subject.facts.modules, said


def _mounts(subject: Subject, said: str) -> None:
    found = [line.split()[2:] for line in said.strip().splitlines()[1:]]
    assert found == [[fields[2], fields[0], fields[1]] for fields in subject.facts.mounts], said


def _files(subject: Subject, said: str) -> None:
    """`ls -l` has "FD -> PATH" at the end of each line but the first."""
    theirs = [line.split()[-3::2] for line in subject.facts.said["ls -l /proc/1/fd"].strip().splitlines()[1:]]
    found = re.findall(r"^ *(\d+) (?:[0-9a-f]{16} ){3}\w+ +(\S+)", said, re.MULTILINE)
    assert sorted(map(tuple, theirs)) == sorted(found), (theirs, said)
    assert found, said


def _areas(subject: Subject, said: str) -> None:
    """[heap] and the like are names of the guest's own for areas without a file."""
    theirs = []
    for line in subject.facts.said["cat /proc/1/maps"].splitlines():
        area, *fields = line.split()
        start, end = (int(address, 16) for address in area.split("-"))
        theirs.append((start, end, *(name for name in fields[4:] if name.startswith("/"))))
    found = re.findall(r"^[0-9a-f]{16} +([0-9a-f]+) +([0-9a-f]+) +[0-9a-f]+ *(\S*)", said, re.MULTILINE)
    assert [(int(start, 16), int(end, 16), *filter(None, [name])) for start, end, name in found] == theirs, said


def _memory(subject: Subject, said: str) -> None:
    (theirs,) = re.findall(r"^MemTotal: +(\d+) kB", subject.facts.said["cat /proc/meminfo"], re.MULTILINE)
    (found,) = re.findall(r"TOTAL MEM +(\d+) ", said)
    assert int(found) * 4 == int(theirs), said  # pages of 4 KiB


def _slabs(subject: Subject, said: str) -> None:
    found = [line.split()[-1] for line in said.strip().splitlines()[1:]]
    assert set(found) == subject.facts.slabs.keys(), said


def _jiffies(subject: Subject, said: str) -> None:
    assert int(said.split()[-1]) == subject.session.ask("print jiffies").number, said


def _running(subject: Subject, said: str) -> None:
    """crash shows the address of the instruction before, as if each were that of a return (arm64.c)."""
    (task,) = re.findall(r"^PID: (\d+) ", said, re.MULTILINE)
    (address,) = re.findall(r"^ #0 .* at ([0-9a-f]{16})", said, re.MULTILINE)
    theirs = subject.session.ask("print $pid").number, subject.session.machine.registers.pc
    assert (int(task), int(address, 16) + 4) == theirs, (theirs, said)


def _stack(subject: Subject, said: str) -> None:
    """The guest leaves out the scheduler (stack_trace_consume_entry_nosched, kernel/stacktrace.c)."""
    theirs = re.findall(r"\] ([\w.]+)\+", subject.facts.said["cat /proc/1/stack"])
    found = re.findall(r"^ *#\d+ \[[0-9a-f]+\] ([\w.]+)", said, re.MULTILINE)
    assert theirs, subject.facts.said
    assert found[-len(theirs) :] == theirs, (theirs, said)
    assert {*found[: -len(theirs)]} <= {"__switch_to", "__schedule", "schedule"}, said


def _symbol(name: str) -> Callable[[Subject, str], None]:
    def check(subject: Subject, said: str) -> None:
        assert int(said.split()[0], 16) == subject.facts.symbols[name], said

    return check


def _release(subject: Subject, said: str) -> None:
    (found,) = re.findall(r'release = "([^"\\]+)', said)
    assert found == subject.facts.release, said


CRASH: Final = Tool(
    "crash",
    _version,
    _opened,
    (
        Row("sys", "uname -r", _system),
        Row("ps", "/proc/PID/stat", _tasks),
        Row("log", "dmesg, byte for byte", _log),
        Row("mod", "/proc/modules", _modules),
        Row("mount", "/proc/mounts", _mounts),
        Row("bt 1", "/proc/1/stack", _stack),
        Row("bt -a", "the machine's registers", _running),
        Row("files 1", "/proc/1/fd", _files),
        Row("vm 1", "/proc/1/maps", _areas),
        Row("kmem -i", "/proc/meminfo: MemTotal", _memory),
        Row("kmem -s", "/proc/slabinfo: the names", _slabs),
        Row("p jiffies", "the machine's memory", _jiffies),
        Row("sym vfs_read", "/proc/kallsyms", _symbol("vfs_read")),
        Row("struct uts_namespace.name init_uts_ns", "uname -r", _release),
    ),
)
