# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's own scripts/gdb, of the package of its source, with the vmlinux of the kernel's -dbg package."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import KernelFiles, cache_directory, fetch_kernel, fetch_packages
from armprobe.machine.file_lock import exclusive_lock
from armprobe.stub import serve
from tests.debuggers.driver import Gdb
from tests.debuggers.programs import PROGRAMS, version
from tests.debuggers.tools.tool import Absent, Ask, Row, Subject, Tool
from tests.oracle.debug_kernel import debug_vmlinux
from tests.oracle.guests import FOLDER
from tests.oracle.live.build import kbuild
from tests.progress import progress


def _tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Absent(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def scripts(files: KernelFiles) -> Path:
    """The folder with vmlinux-gdb.py and scripts/gdb, as where a kernel was built; made once. Raises `Absent`."""
    folder = cache_directory() / "debuggers" / f"lx-scripts-{files.kernel_version}_{files.package_version}"
    if not folder.is_dir():
        series = ".".join(files.kernel_version.split(".")[:2])
        with tempfile.TemporaryDirectory(prefix="armprobe-source-") as work:
            fetch_packages([f"linux-source-{series}"], Path(work), progress)
            inside = f"linux-source-{series}/scripts/gdb"
            archive = next(Path(work).rglob("linux-source-*.tar.xz"))
            subprocess.run(["tar", "-C", work, "-xf", archive, inside], check=True)
            made = Path(work) / inside
            cache = cache_directory() / FOLDER / (files.suite or "bookworm")
            with exclusive_lock(cache / "lock", "the kernel's headers are in use: waiting", progress):
                kbuild(made / "linux", files, cache, _tool)  # its Makefile makes constants.py of the configuration
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(made, partial / "scripts/gdb")
        shutil.copy(partial / "scripts/gdb/vmlinux-gdb.py", partial)
        partial.rename(folder)
    return folder


def _version() -> str:
    files = fetch_kernel()
    scripts(files)
    debug_vmlinux(files)
    return f"scripts/gdb of Linux {files.package_version} in {version(PROGRAMS[0].install())}"


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    files, vmlinux = fetch_kernel(), subject.folder / "vmlinux"
    vmlinux.symlink_to(debug_vmlinux(files))
    with (
        serve(subject.session, "127.0.0.1:0") as server,
        Gdb(PROGRAMS[0].install(), vmlinux, "-l", "60") as gdb,
    ):
        gdb.execute(f"cd {subject.folder}")  # lx-symbols reads "vmlinux" again
        gdb.attach(server.address)
        gdb.execute(f"source {scripts(files) / 'vmlinux-gdb.py'}")
        yield lambda line: gdb.execute(line.replace("FOLDER", str(subject.folder)))


def _equal(command: str) -> Callable[[Subject, str], None]:
    def check(subject: Subject, said: str) -> None:
        assert said.strip().splitlines() == subject.facts.said[command].strip().splitlines(), said

    return check


def _log(subject: Subject, said: str) -> None:
    """Line by line; the script rounds the times (DmesgDict, linux/dmesg.py) that the kernel cuts off."""
    parts = [
        [line.partition("] ") for line in text.strip().splitlines()] for text in (said, subject.facts.said["dmesg"])
    ]
    found, expected = parts
    assert [rest for _, _, rest in found] == [rest for _, _, rest in expected], said
    times = zip(found, expected, strict=True)
    assert all(abs(float(ours.strip("[ ")) - float(theirs.strip("[ "))) < 1.5e-6 for (ours, *_), (theirs, *_) in times)


def _tasks(subject: Subject, said: str) -> None:
    found = dict(re.findall(r"^0x\w+ +(\d+) +(\S+)", said, re.MULTILINE))
    tasks = {0: "swapper/0", **subject.facts.tasks}
    assert {int(number) for number in found} == tasks.keys(), said
    assert all(tasks[int(number)].startswith(name) for number, name in found.items()), said


def _modules(subject: Subject, said: str) -> None:
    found = re.findall(r"^(0x\w+) (\S+) +(\d+)", said, re.MULTILINE)
    assert {name: (int(address, 16), int(size)) for address, name, size in found} == subject.facts.modules, said


def _mounts(subject: Subject, said: str) -> None:
    found = [line.split()[2:5] for line in said.strip().splitlines()[1:]]
    assert found == [fields[:3] for fields in subject.facts.mounts], said


def _current(subject: Subject, said: str) -> None:
    (name,) = re.findall(r'= "([^"\\]+)', said)
    assert name == subject.session.run("print $comm").split('"')[1], said


def _first_task(subject: Subject, said: str) -> None:
    assert f'= "{subject.facts.tasks[1]}", ' in said, said


def _curr(subject: Subject, said: str) -> None:
    (address,) = re.findall(r"= \(struct task_struct \*\) (0x\w+)", said)
    assert int(address, 16) == subject.session.machine.registers["sp_el0"], said


def _symbols(subject: Subject, said: str) -> None:
    found = {Path(file).stem: int(address, 16) for address, file in re.findall(r"loading @(0x\w+): (\S+)", said)}
    assert found == {name: address for name, (address, _) in subject.facts.modules.items()}, said


LX_SCRIPTS: Final = Tool(
    "lx-scripts",
    _version,
    _opened,
    (
        Row("lx-version", "/proc/version", _equal("cat /proc/version")),
        Row("lx-cmdline", "/proc/cmdline", _equal("cat /proc/cmdline")),
        Row("lx-ps", "/proc/PID/stat", _tasks),
        Row("lx-lsmod", "/proc/modules", _modules),
        Row("lx-mounts", "/proc/mounts", _mounts),
        Row("lx-dmesg", "dmesg", _log),
        Row("print $lx_current().comm", "the machine's SP_EL0, which is `current`", _current),
        Row("print $lx_task_by_pid(1)->comm", "/proc/1/stat", _first_task),
        Row('print $lx_per_cpu("runqueues", 0).curr', "the machine's SP_EL0", _curr),
        Row("lx-symbols FOLDER", "/proc/modules", _symbols),
    ),
)
