# SPDX-License-Identifier: GPL-2.0-or-later
"""A gdb that was given no file has the guest's symbols, from the stub; the reference is a gdb that was given one."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import GdbSession, Session
from armprobe.stub import ExecFile, connection, serve
from armprobe.stub.framing import notification
from tests.gdb.oracle import DEMO, Demo
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.sample(of="files")

Tool = Callable[[str, str], str]
Strip = Callable[..., Path]
Gdb = Callable[..., str]

SLOW = 'warning: File transfers from remote targets can be slow. Use "set sysroot" to access files locally instead.\n'
CALLERS = ["kfree", "slab_round", "workload_round", "workload_run", "start_kernel", "__primary_switched"]
"""Of the first call of kfree, by the demo kernel's source."""
STEPS = 150
PHYSICAL_FRAMES = """
frame = gdb.newest_frame()
while frame:
    if frame.type() != gdb.INLINE_FRAME:
        print(hex(frame.pc()), frame.name(), frame.read_register("sp"))
    frame = frame.older()
"""


@pytest.fixture(scope="module")
def strip(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Strip:
    """strip(option, ...): the demo kernel as objcopy leaves it; by default with symbols and no debug information."""
    objcopy = tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")
    folder = tmp_path_factory.mktemp("stripped")

    def run(*options: str) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.elf"
        subprocess.run([objcopy, *(options or ["--strip-debug"]), DEMO, path], check=True)
        return path

    return run


@pytest.fixture
def stripped(strip: Strip) -> Iterator[Session]:
    """A guest of which the symbols are known and nothing else."""
    with Session(strip()) as session:
        assert session.machine.guest.dwarf is None
        yield session


@pytest.fixture
def run(gdb_path: str, tmp_path: Path) -> Gdb:
    """run(argument, ..., command=...): what a gdb without a user's settings prints; it leaves no files behind."""

    def gdb(*arguments: str | Path, commands: tuple[str, ...] = ()) -> str:
        environment = {**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY), "TMPDIR": str(tmp_path)}
        words = [gdb_path, "-nx", "-batch", *arguments, *(word for line in commands for word in ("-ex", line))]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=environment,
        )
        assert list(tmp_path.iterdir()) == []
        return done.stdout

    return gdb


def frames(backtrace: str) -> list[str]:
    """The functions in it, innermost first."""
    assert "Backtrace stopped" not in backtrace
    return re.findall(r"^(?:\(gdb\) )?#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(", backtrace, re.MULTILINE)


def test_gdb_alone(run: Gdb, stripped: Session, demo: Demo) -> None:
    """It says that a transfer can be slow, which nothing but a file of its own keeps it from; nothing else is amiss."""
    kfree = demo.address("kfree")
    with serve(stripped, "127.0.0.1:0") as server:
        said = run(
            commands=(
                f"target remote {server.address}",
                "break kfree",
                f"info symbol {kfree + 4:#x}",
                "continue",
                "backtrace",
                "x/2i $pc",
                "disassemble kfree, +16",
            )
        )
    assert said.count("warning") == said.count(SLOW) == 1
    assert "kfree + 4 in section .text\n" in said
    assert re.search(r"^Breakpoint 1, 0x[0-9a-f]+ in kfree \(\)$", said, re.MULTILINE)
    assert frames(said) == CALLERS
    shown = re.findall(r"(0x[0-9a-f]+) <kfree(?:\+\d+)?>:\t(\S+)", said)
    assert len(shown) == 6
    assert shown == [(at, demo.instructions[int(at, 16)].name) for at, _ in shown]


@pytest.mark.parametrize("extended", ["", "extended-"])
def test_with_our_gdbinit(run: Gdb, stripped: Session, extended: str) -> None:
    with serve(stripped, "127.0.0.1:0") as server:
        said = run(
            *("-x", GDBINIT),
            commands=(f"target {extended}remote {server.address}", "tbreak kfree", "continue", "backtrace"),
        )
    assert "warning" not in said
    assert frames(said.partition("Temporary breakpoint 1, ")[2]) == CALLERS


def test_the_demos_own_file(run: Gdb, session: Session) -> None:
    """With lines and types."""
    with serve(session, "127.0.0.1:0") as server:
        said = run("-x", GDBINIT, commands=(f"target remote {server.address}", "info line kfree", "ptype kfree"))
    assert "warning" not in said
    assert re.search(r'Line \d+ of "\S+\.c" starts at address 0x[0-9a-f]+ <kfree>', said)
    assert "type = void (" in said


def test_the_users_file_is_kept(run: Gdb, stripped: Session) -> None:
    with serve(stripped, "127.0.0.1:0") as server:
        connect = f"target remote {server.address}"
        said = run(DEMO, "-x", GDBINIT, commands=(connect, "info line kfree"))
        assert "warning" not in said
        assert "is at address" not in said
        assert re.search(r'Line \d+ of "\S+\.c"', said)
        said = run("-ix", GDBINIT, DEMO, commands=(connect, "info line kfree"))
        assert re.search(r'Line \d+ of "\S+\.c"', said)
        said = run("-x", GDBINIT, commands=(f"file {DEMO}", connect, "info line kfree"))
        assert re.search(r'Line \d+ of "\S+\.c"', said)


def test_a_file_that_takes_longer_than_gdb_waits(run: Gdb, stripped: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """gdb tries three times to read a reply, for its remotetimeout of two seconds each."""
    signs: list[bytes] = []

    def noted(payload: bytes) -> bytes:
        signs.append(payload)
        return notification(payload)

    monkeypatch.setattr(connection, "notification", noted)
    file = stripped.debug_target.exec_file()
    assert file is not None

    def late() -> BinaryIO:
        wait_until(lambda: len(signs) >= 14, "signs of life")  # one in half a second
        return file.open()

    monkeypatch.setattr(stripped.debug_target, "exec_file", lambda: ExecFile(file.name, late))
    with serve(stripped, "127.0.0.1:0") as server:
        said = run("-iex", "set remotetimeout 2", commands=(f"target remote {server.address}", "info line kfree"))
    assert "packet error" not in said
    assert "for address 0x" in said
    assert "kfree" in said


@pytest.mark.parametrize("kept", [True, False])
def test_only_a_file_that_is_not_on_this_computer_is_sent(
    run: Gdb, stripped: Session, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    cache, packets = folder / "cache", folder / "packets"
    cache.mkdir() if kept else cache.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    stripped.owner.call(lambda: stripped.machine.run(until="kfree"))  # so that its memory can be read
    with serve(stripped, "127.0.0.1:0") as server:
        commands = f"set remotelogfile {packets}", f"target remote {server.address}", "info files", "info address kfree"
        said = run("-x", GDBINIT, commands=commands)
    assert ("vFile:pread" in packets.read_text()) is not kept
    assert 'Symbol "kfree" is at 0x' in said
    assert str(cache) not in said  # where it could be deleted while gdb has it


def test_from_one_guest_to_another(run: Gdb, stripped: Session, strip: Strip) -> None:
    other = strip("--strip-debug", "--redefine-sym=kfree=kfree_renamed")
    with (
        serve(stripped, "127.0.0.1:0") as server,
        Session(other) as second,
        serve(second, "127.0.0.1:0") as to,
    ):
        said = run(
            *("-x", GDBINIT),
            commands=(
                *(f"target remote {server.address}", "info address kfree", "disconnect"),
                *(f"target remote {to.address}", "info address kfree_renamed", "info address kfree"),
            ),
        )
    assert "warning" not in said
    assert 'Symbol "kfree" is at 0x' in said
    assert 'Symbol "kfree_renamed" is at 0x' in said
    assert 'No symbol "kfree" in current context.' in said


def test_a_guest_without_symbols(run: Gdb, strip: Strip) -> None:
    with Session(strip("--strip-all")) as session, serve(session, "127.0.0.1:0") as server:
        connect = f"target remote {server.address}"
        said = run(commands=(connect, "print $pc"))
        assert said.startswith("warning: No executable has been specified")
        assert "$1 = (void (*)()) 0x" in said
        said = run("-x", GDBINIT, commands=(connect, "print $pc"))
        assert "warning" not in said
        assert "$1 = (void (*)()) 0x" in said


def test_a_target_that_is_not_ours(run: Gdb, tool: Tool) -> None:
    """Ours is no program for it: gdb has none then."""
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    machine = f"{qemu} -M virt -cpu cortex-a53 -display none -monitor none -serial none -S -gdb stdio"
    said = run("-x", GDBINIT, commands=(f"target remote | {machine}", "info inferiors", "kill"))
    assert re.search(r"^\* 1 +process 1 +1 \(remote \| \S+ .*\) +$", said, re.MULTILINE)


def test_armprobe_gdb(strip: Strip, tmp_path: Path, gdb_path: str) -> None:
    path = strip()
    done = subprocess.run(
        [sys.executable, "-m", "armprobe", "gdb", path],
        input="break kfree\ncontinue\nbacktrace\nkill\nquit\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert "warning" not in done.stdout
    assert frames(done.stdout) == CALLERS
    assert list(tmp_path.iterdir()) == []


def test_frames_are_the_debug_informations(session: Session, stripped: Session, gdb_path: str, gdbinit: Path) -> None:
    """Where they go on, and the stack pointer there, at every instruction of a call, of the calls that it makes..."""
    show = f"python exec({PHYSICAL_FRAMES!r})"
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as theirs, GdbSession(stripped, gdb=gdb_path) as ours:
        for gdb in (theirs, ours):
            gdb.execute("break *kfree")
            gdb.continue_to_stop()
        for step in range(STEPS):
            expected = theirs.execute(show)
            assert "start_kernel" in expected
            assert ours.execute(show) == expected, f"after {step} steps"
            for gdb in (theirs, ours):
                gdb.step()


def test_finish(stripped: Session, gdb_path: str, demo: Demo) -> None:
    with GdbSession(stripped, gdb=gdb_path) as gdb:
        gdb.execute("break *kfree")
        gdb.continue_to_stop()
        back = gdb.register("x30")
        gdb.execute("finish")
        assert gdb.register("pc") == back
        assert demo.instructions[back - 4].operands.endswith("<kfree>")


def test_a_line_for_the_console(gdb: GdbSession, session: Session) -> None:
    """It is for the guest to read when gdb lets it."""
    before = session.machine.instructions
    assert gdb.execute("console hello") == "sent; the guest reads it when it runs\n"
    assert session.machine.instructions == before
    session.machine.console.deliver()
    assert bytes(session.machine.uart.received) == b"hello\n"
