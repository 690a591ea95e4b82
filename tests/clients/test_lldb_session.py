# SPDX-License-Identifier: GPL-2.0-or-later
"""LldbSession drives a real LLDB: what it sees is what gdb sees, and its end leaves nothing behind."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armprobe.clients import GdbError, GdbSession, GdbTimeout, LldbSession, UnexpectedStop
from armprobe.commands import Session
from tests.clients.test_gdb_ends import is_gone  # tests have no import name to go by
from tests.debuggers.programs import lldb_path
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def lldb() -> str:
    path = lldb_path()
    if path is None:
        pytest.skip("lldb is not installed (Debian: apt-get install lldb)")
    return path


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.fixture
def attached(session: Session, lldb: str) -> Iterator[LldbSession]:
    with LldbSession(session, lldb=lldb, timeout=PATIENCE) as attached:
        yield attached


def seen(debugger: GdbSession | LldbSession) -> list[Any]:
    """What there is to see at five stops, in the words of both debuggers."""
    found: list[Any] = []
    with debugger.breakpoint("kmalloc", condition="x0 > 100") as point:
        for _ in range(5):
            debugger.cont()
            stop = debugger.expect_stop(reason="breakpoint-hit", function="kmalloc", breakpoint=point.number)
            frames = [(frame.level, frame.address, frame.function) for frame in debugger.frames(3)]
            registers = [debugger.registers[name] for name in ("x0", "x30", "sp", "pc", "cpsr")]
            found += [stop.pc, point.hits, point.address, frames, registers, debugger.variables()["size"]]
            found += [debugger.read_memory(registers[2], 16), debugger.evaluate("1 + 2"), debugger.step().pc]
    return found


def test_it_sees_what_gdb_sees(attached: LldbSession, gdb_path: str) -> None:
    with Session("demo") as other, GdbSession(other, gdb=gdb_path) as gdb:
        assert seen(attached) == seen(gdb)


def test_it_changes_the_machine(attached: LldbSession, session: Session) -> None:
    attached.breakpoint("kfree", temporary=True)
    attached.continue_to_stop()
    attached.registers["x3"] = 0x1234
    assert session.machine.registers.x[3] == 0x1234
    address = attached.register("sp")
    attached.write_memory(address, b"hello")
    assert session.machine.memory.read(address, 5) == b"hello"


def test_armprobe_s_commands_and_stops(attached: LldbSession) -> None:
    assert attached.execute("kretprobe kmalloc stop=return").startswith("kretprobe 1: kmalloc at ")
    assert "kretprobe kmalloc: stage return, hit 1" in attached.continue_to_stop().console
    assert "kretprobe kmalloc, hit 1, stage return:" in attached.execute("regs")


def test_the_guest_s_console(attached: LldbSession) -> None:
    assert attached.console.expect(rb"init: (\w+) from EL0")[1] == b"hello"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda lldb: lldb.mi("-stack-info-depth"), "LLDB has no GDB/MI, so it cannot do '-stack-info-depth'"),
        (lambda lldb: lldb.breakpoint("nosuch"), "LLDB knows no place nosuch"),
        (lambda lldb: lldb.execute("frobnicate"), "'frobnicate' is not a valid command"),
        (lambda lldb: lldb.execute("kprobe nosuch"), "there is no symbol 'nosuch'"),
        (lambda lldb: lldb.evaluate("nosuch"), "nosuch"),
        (lambda lldb: lldb.register("nosuch"), "LLDB knows no register 'nosuch'"),
        (lambda lldb: lldb.read_memory(0x8000_0000_0000, 4), "of 4 bytes at 0x800000000000 only 0 can be read"),
        (lambda lldb: lldb.interrupt(), "not running"),
        (lambda lldb: lldb.wait_for_stop(), "not running"),
    ],
)
def test_refusals(attached: LldbSession, use: Any, message: str) -> None:
    with pytest.raises(GdbError, match=message):
        use(attached)
    assert attached.evaluate("1 + 2") == "3"  # and it goes on working


def test_stops_that_were_not_expected(attached: LldbSession) -> None:
    attached.breakpoint("kfree")
    attached.cont()
    with pytest.raises(UnexpectedStop, match=r"expected a stop .*function kmalloc.*stopped otherwise"):
        attached.expect_stop(function="kmalloc")
    attached.execute("breakpoint delete -f")
    attached.cont()
    with pytest.raises(GdbTimeout, match=r"waited 0\.3 s for the machine to stop"):
        attached.expect_stop(timeout=0.3)
    with pytest.raises(GdbError, match="the machine runs"):
        attached.frames()
    assert attached.interrupt().reason == "signal-received"


def test_an_lldb_that_dies(session: Session, lldb: str) -> None:
    with LldbSession(session, lldb=lldb) as attached:
        attached.cont()
        pid = attached._process.pid
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(GdbError, match="LLDB ended with status -9"):
            attached.wait_for_stop(timeout=PATIENCE)
    assert is_gone(pid)


def test_no_lldb() -> None:
    with pytest.raises(GdbError, match=r"no-such-lldb is not installed .*apt-get install lldb"):
        LldbSession("127.0.0.1:1", lldb="no-such-lldb")


def test_an_lldb_that_does_not_run(broken: Path) -> None:
    with pytest.raises(GdbError, match=rf"^{broken} does not run: Exec format error$"):
        LldbSession("127.0.0.1:1", lldb=str(broken))


def test_nobody_listening(lldb: str, tmp_path: Path) -> None:
    with pytest.raises(GdbError, match=r"LLDB cannot connect to unix:.*No such file"):
        LldbSession(f"unix:{tmp_path}/none", lldb=lldb)
