# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on a kernel whose vmlinux is beside its Image: lines, arguments and types, however gdb comes to the file."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import GdbSession, Session
from armprobe.stub import ExecFile, serve

from ..small_kernel import LINE, ROUNDS, SmallKernel, build  # noqa: TID252
from ..waiting import PATIENCE  # noqa: TID252

Tool = Callable[[str, str], str]

QUESTIONS = (f"break clock.c:{LINE}", "continue", "info args", "ptype struct task", "print init_task.comm", "list 1,2")
SLOW = 'warning: File transfers from remote targets can be slow. Use "set sysroot" to access files locally instead.\n'


@pytest.fixture(scope="module")
def kernel(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> SmallKernel:
    return build(tool, tmp_path_factory.mktemp("a kernel"))  # a name that gdb has to have quoted


@pytest.fixture
def session(kernel: SmallKernel) -> Iterator[Session]:
    with Session(kernel.image, vmlinux=kernel.vmlinux) as session:
        yield session


def run(gdb: str, *arguments: str | Path) -> str:
    """What a gdb without a user's settings prints."""
    return subprocess.run(
        [gdb, "-nx", "-batch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)},
    ).stdout


@pytest.mark.parametrize("how", ["plain", "sysroot", "gdbinit"])
def test_a_debugger_that_was_given_no_file(session: Session, kernel: SmallKernel, gdb_path: str, how: str) -> None:
    """Through the stub, unless it is told that the file system is its own or has our gdbinit, which finds that out."""
    before = {"plain": (), "sysroot": ("-ex", "set sysroot /"), "gdbinit": ("-x", GDBINIT)}[how]
    with serve(session, "127.0.0.1:0") as server:
        commands = (f"target remote {server.address}", *QUESTIONS, "info inferiors")
        said = run(gdb_path, *before, *(word for command in commands for word in ("-ex", command)))
    assert f"Breakpoint 1, tick (task=task@entry=0x{session.machine.symbols['init_task'].address:x} <init_task>" in said
    assert "now = 10\n" in said
    assert re.search(r"type = struct task \{\n +int pid;\n +char comm\[16\];\n +unsigned long ticks;\n\}\n", said)
    assert '"init", ' in said
    assert "1\tstruct task {\n2\t    int pid;\n" in said
    assert said.count("warning") == said.count(SLOW) == (how == "plain")
    program = f"target:{kernel.vmlinux}" if how == "plain" else str(kernel.vmlinux)
    assert re.search(rf"\) {re.escape(program)} *$", said, re.MULTILINE)


def test_another_file_of_that_name(kernel: SmallKernel, gdb_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub may be on another computer: what is here then under the file's name is left alone."""
    with Session(kernel.image, vmlinux=kernel.vmlinux) as session:
        elsewhere = ExecFile(str(kernel.image), lambda: kernel.vmlinux.open("rb"))
        monkeypatch.setattr(session.debug_target, "exec_file", lambda: elsewhere)
        with serve(session, "127.0.0.1:0") as server:
            commands = (f"target remote {server.address}", "print init_task.comm")
            said = run(gdb_path, "-x", GDBINIT, *(word for command in commands for word in ("-ex", command)))
    assert '"init", ' in said
    assert "warning" not in said


def test_a_name_that_is_no_text(kernel: SmallKernel, gdb_path: str, tmp_path: Path) -> None:
    """The file is served under another."""
    path = tmp_path / "vm\udcfflinux\n"
    path.write_bytes(kernel.vmlinux.read_bytes())
    with Session(kernel.image, vmlinux=path) as session, serve(session, "127.0.0.1:0") as server:
        said = run(gdb_path, "-ex", f"target remote {server.address}", "-ex", "print init_task.comm")
    assert "target:/armprobe/Image.elf" in said
    assert '"init", ' in said


def test_conditions_by_argument(session: Session, gdb_path: str) -> None:
    """Those that gdb compiles, at the symbol, which is before what the debug information describes."""
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("kprobe tick if now == 12 && task->pid == 1")
        gdb.continue_to_stop()
        assert [hit.number for hit in session.kprobes.hits if hit.stage.value == "pre"] == [12 - 10 + 1]
        assert ROUNDS > 3
