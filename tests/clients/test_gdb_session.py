# SPDX-License-Identifier: GPL-2.0-or-later
"""GdbSession drives a real gdb: against QEMU's stub, which owes nothing to armprobe, and against armprobe's own."""

import os
import signal
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients import GdbError, GdbSession, GdbTimeout
from tests.commands.toy import ToySession
from tests.stub.fake import BASE  # tests have no import name to go by
from tests.waiting import PATIENCE, wait_until

START = 0x4020_0000  # QEMU puts a device tree into the first MiB of memory
# Arm ARM C6.2: MOVZ x0, #0x1234; ADD x0, x0, #1; STR w0, [x1]; B to the ADD
PROGRAM = struct.pack("<4I", 0xD282_4680, 0x9100_0400, 0xB900_0020, 0x17FF_FFFE)


@pytest.fixture
def qemu(tool: Callable[[str, str], str], tmp_path: Path) -> Iterator[str]:
    """The address of the stub of a QEMU that has not yet executed anything of PROGRAM."""
    path = tool("qemu-system-aarch64", "qemu-system-arm")
    program, socket = tmp_path / "program", tmp_path / "gdb"
    program.write_bytes(PROGRAM)
    arguments = ["-M", "virt", "-cpu", "cortex-a57", "-m", "16M", "-S", "-display", "none", "-nodefaults"]
    arguments += ["-gdb", f"unix:{socket},server=on,wait=off"]
    arguments += ["-device", f"loader,file={program},addr={START:#x},force-raw=on"]
    arguments += ["-device", f"loader,addr={START:#x},cpu-num=0"]
    with subprocess.Popen([path, *arguments]) as process:
        try:
            wait_until(lambda: socket.exists() or process.poll() is not None, "QEMU listens")
            assert process.poll() is None
            yield f"unix:{socket}"
        finally:
            process.kill()


@pytest.fixture
def remote(qemu: str, gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(qemu, gdb=gdb_path) as remote:
        yield remote


def test_step(remote: GdbSession) -> None:
    stop = remote.step()
    assert (stop.reason, stop.pc) == ("end-stepping-range", START + 4)
    assert remote.register("x0") == 0x1234
    assert remote.step().pc == START + 8
    assert remote.register("x0") == 0x1235


def test_registers_memory_and_expressions(remote: GdbSession) -> None:
    assert remote.register("pc") == START
    assert remote.register("cpsr") & 0xF == 0b0101  # PSTATE.M: EL1h, Arm ARM C5.2.20
    assert remote.read_memory(START, len(PROGRAM)) == PROGRAM
    assert remote.evaluate("1 + 2") == "3"
    assert remote.evaluate('"a\\\\b"[1]') == "92 '\\\\'"
    assert remote.execute("output 6 * 7") == "42"
    remote.execute("set $x3 = 0x10")
    assert remote.register("x3") == 16


def test_breakpoint(remote: GdbSession) -> None:
    remote.execute(f"break *{START + 8:#x}")
    stop = remote.continue_to_stop()
    assert (stop.reason, stop.pc, stop.signal, stop.function) == ("breakpoint-hit", START + 8, "", "")
    assert "Breakpoint 1, " in stop.console
    assert remote.continue_to_stop().pc == START + 8
    assert remote.register("x0") == 0x1236
    assert stop.raw["bkptno"] == "1"


def test_watchpoint(remote: GdbSession) -> None:
    remote.execute(f"set $x1 = {START + 0x1000:#x}")
    remote.execute(f"watch *(int *){START + 0x1000:#x}")
    stop = remote.continue_to_stop()
    assert (stop.reason, stop.pc) == ("watchpoint-trigger", START + 12)
    assert stop.raw["value"] == {"old": "0", "new": str(0x1235)}


def test_interrupt(remote: GdbSession) -> None:
    remote.cont()
    with pytest.raises(GdbError, match="running"):
        remote.execute("info registers x0")
    counts = [0x1235]
    while len(counts) < 3:
        stop = remote.interrupt()
        assert (stop.reason, stop.signal) == ("signal-received", "SIGINT")
        assert stop.pc is not None
        assert START <= stop.pc < START + len(PROGRAM)
        counts += {remote.register("x0")} - {0, 0x1234, *counts}  # it may not have got far
        remote.cont()
    assert counts == sorted(counts)


def test_a_stop_that_does_not_come_is_a_timeout_that_says_so(remote: GdbSession) -> None:
    with pytest.raises(GdbTimeout, match=r"waited 0\.3 s for the machine to stop; gdb last said: .*running"):
        remote.continue_to_stop(timeout=0.3)
    assert remote.interrupt().signal == "SIGINT"  # it went on running, and can still be stopped


def test_a_stub_that_knows_nothing_of_armprobe_is_left_alone(remote: GdbSession) -> None:
    with pytest.raises(GdbError, match="Undefined command"):
        remote.execute("probes")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda gdb: gdb.execute("frobnicate"), 'Undefined command: "frobnicate"'),
        (lambda gdb: gdb.execute("one\ntwo"), "one command at a time"),
        (lambda gdb: gdb.evaluate("1 +"), "A syntax error in expression"),
        (lambda gdb: gdb.register("nosuch"), r"\$nosuch is not one number: gdb shows 'void'"),
        (lambda gdb: gdb.register("v0"), r"\$v0 is not one number"),
        (lambda gdb: gdb.read_memory(0xFFFF_0000_0000, 4), "Unable to read memory"),
        (lambda gdb: gdb.interrupt(), "not running"),
        (lambda gdb: gdb.wait_for_stop(), "not running"),
    ],
)
def test_refusals(remote: GdbSession, use: Callable[[GdbSession], object], message: str) -> None:
    with pytest.raises(GdbError, match=message):
        use(remote)
    assert remote.register("pc") == START  # and it goes on working


def test_extended_remote(qemu: str, gdb_path: str) -> None:
    with GdbSession(qemu, gdb=gdb_path, extended=True) as remote:
        assert "extended-remote" in remote.execute("info inferiors")
        assert remote.step().pc == START + 4


def test_a_gdb_that_dies_is_an_error_at_once(remote: GdbSession) -> None:
    remote.cont()
    threading.Timer(0.3, os.kill, (remote._process.pid, signal.SIGKILL)).start()
    with pytest.raises(GdbError, match="gdb ended with status -9 before the machine to stop"):
        remote.wait_for_stop(timeout=PATIENCE)
    with pytest.raises(GdbError, match="gdb has ended"):
        remote.execute("echo")


def test_close_leaves_no_process_and_may_be_repeated(qemu: str, gdb_path: str) -> None:
    remote = GdbSession(qemu, gdb=gdb_path)
    pid = remote._process.pid
    remote.cont()
    remote.close()
    remote.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # a zombie would still be there
    with GdbSession(qemu, gdb=gdb_path) as again:  # and the stub is free
        assert again.register("x0") >= 0x1234


def test_close_ends_a_gdb_that_hangs(qemu: str, gdb_path: str) -> None:
    remote = GdbSession(qemu, gdb=gdb_path)
    os.kill(remote._process.pid, signal.SIGSTOP)
    remote.close()
    with pytest.raises(ProcessLookupError):
        os.kill(remote._process.pid, 0)


def test_nobody_listening(gdb_path: str, tmp_path: Path) -> None:
    with pytest.raises(GdbError, match="No such file"):
        GdbSession(f"unix:{tmp_path}/none", gdb=gdb_path)
    with pytest.raises(GdbError, match="refused"):
        GdbSession("127.0.0.1:1", gdb=gdb_path)


def test_gdb_does_not_try_again_for_seconds(remote: GdbSession) -> None:
    """As it would by itself: GDB manual, Remote Configuration, set tcp auto-retry."""
    assert "is off" in remote.execute("show tcp auto-retry")


def test_no_gdb() -> None:
    with pytest.raises(GdbError, match=r"no-such-gdb is not installed .*apt-get install gdb-multiarch"):
        GdbSession("127.0.0.1:1", gdb="no-such-gdb")


def test_a_gdb_that_does_not_run(broken: Path) -> None:
    with pytest.raises(GdbError, match=rf"^{broken} does not run: Exec format error$"):
        GdbSession("127.0.0.1:1", gdb=str(broken))


# Against armprobe's own stub, started by the session.


def test_a_target_is_served_for_as_long_as_the_session_lasts(session: ToySession, gdb_path: str) -> None:
    with GdbSession(session, gdb=gdb_path) as gdb:
        assert session.attached
        assert gdb.register("pc") == BASE
        assert gdb.step().pc == BASE + 4
    assert session.calls == ["attach", "detach"]


def test_the_stub_s_console_text_belongs_to_the_stop(gdb: GdbSession, session: ToySession) -> None:
    session.text = "kprobe kfree: stage pre"
    assert gdb.step().console == "kprobe kfree: stage pre\n"
    gdb.execute(f"break *{BASE + 0x20:#x}")
    assert gdb.continue_to_stop().console.startswith("kprobe kfree: stage pre\n")


def test_a_command_that_resumes_is_over_when_the_machine_has_stopped(gdb: GdbSession) -> None:
    gdb.execute("stepi 3")
    assert gdb.register("pc") == BASE + 12
    gdb.execute(f"break *{BASE + 0x20:#x}")
    assert "Breakpoint 1, " in gdb.execute("continue")
    assert gdb.register("pc") == BASE + 0x20


def test_monitor_output(gdb: GdbSession) -> None:
    assert gdb.execute("monitor hits 3") == "hit 0\nhit 1\nhit 2\n"


def test_the_guest_s_end(gdb: GdbSession, session: ToySession) -> None:
    session.powers_off_at = BASE + 0x10
    stop = gdb.continue_to_stop()
    assert (stop.reason, stop.pc) == ("exited-normally", None)
