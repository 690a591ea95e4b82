# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of docs/use-after-free.md: a module of ours corrupts a list, and four commands of gdb find out how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import GdbSession, Session
from armprobe.guests.linux.debian import cache_directory
from armprobe.machine.file_lock import exclusive_lock
from tests.linux.shell import Shell
from tests.oracle.guests import FOLDER, at_shell
from tests.oracle.live.build import compiled
from tests.oracle.references import EVERYTHING, REFERENCES, fetch_with
from tests.progress import progress
from tests.waiting import PATIENCE

SOURCE = Path(__file__).parent.parent.parent / "examples/use-after-free"
ERAS = [era for era in REFERENCES if EVERYTHING or era == "v6.1"]
PARAMETERS = "/sys/module/jobs/parameters"

Tool = Callable[[str, str], str]


@pytest.fixture(scope="module", params=ERAS)
def parts(request: pytest.FixtureRequest, tool: Tool) -> tuple[Path, Path]:
    """The snapshot of a kernel at its shell, and the module for it."""
    reference = REFERENCES[request.param]
    folder = cache_directory() / FOLDER / reference.suite
    with exclusive_lock(folder / "lock", f"another worker prepares Linux {reference.series}: waiting for it", progress):
        files, module = fetch_with(
            reference, lambda files: (files, compiled("jobs", SOURCE, files, folder, tool, debug_information=True))
        )
    return at_shell(files), module


@pytest.fixture
def session(parts: tuple[Path, Path], tmp_path: Path) -> Iterator[Session]:
    snapshot, module = parts
    with Session(snapshot) as session:
        (tmp_path / "jobs.ko").write_bytes(module.read_bytes())
        session.guest.push(tmp_path / "jobs.ko")
        shell = Shell(session.machine)
        shell.run(f"insmod jobs.ko; echo 5 > {PARAMETERS}/add")
        yield session


@pytest.mark.sample(of="tests")
def test_four_commands_find_the_writer(session: Session, gdb_path: str) -> None:
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute(f"monitor console sleep 1; cat {PARAMETERS}/total")
        oops = gdb.continue_to_stop(PATIENCE)
        assert "Internal error: Oops" in oops.console
        bad = int(found(r"bad address: from x1 = 0x(\w+)", oops.console), 16)
        end, loop = session.machine.instructions, found(r"#\d+ +(0x\w+) in total \(", gdb.execute("backtrace"))
        gdb.execute(f"tbreak *{loop}")
        assert "total (text=" in gdb.execute("reverse-continue")
        there = gdb.execute("last-write $x1")
        job = found(rf"^x1 changed from 0x(\w+) to {bad:#x} by total\+", there)
        said = gdb.execute(f"last-write 0x{job}")
    assert found(r"written by notify\+0x\w+ \[jobs\] .* at position ([\d,]+);", said)
    assert [line.split()[2].partition("+")[0] for line in said.splitlines()[1:4]] == [
        "notify",
        "process_one_work",
        "worker_thread",
    ]
    position = int(found(r"at position ([\d,]+);", said).replace(",", ""))
    assert end - position > 1_000_000
    machine = session.machine
    machine.timeline.go(position)
    head = machine.memory.u64(int(job, 16))
    assert machine.memory.u64(head) == int(job, 16), "a list of one: the job leads to the head, and that to the job"
    machine.timeline.go(position + 1)
    assert machine.memory.u64(int(job, 16)) == bad


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, text
    return match[1]
