# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks of a stock kernel as the threads of a real gdb. The guest's own /proc says what there is to see."""

import re
from collections.abc import Iterator

import pytest

from armprobe.clients import GdbError
from armprobe.commands import GdbSession, Session
from armprobe.stub import serve
from tests.linux.shell import Shell
from tests.stub.client import Client
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

IDLE = 0x400000
PROC = "for f in /proc/[0-9]*/task/[0-9]*/stat; do read -r l < $f; echo $l; done"
THREAD = re.compile(r"^[* ] +(\d+) +Thread 1\.(\d+) \"(.*?)\" \((.*)\) +0x[0-9a-f]+ in (\S+)", re.MULTILINE)


@pytest.fixture
def gdb(session: Session, gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(session, gdb=gdb_path) as gdb:
        yield gdb


def test_they_are_those_of_proc(session: Session, gdb_path: str) -> None:
    shell = Shell(session.machine)
    said = session.owner.call(lambda: shell.run(PROC))  # the shell's own `read` makes no process
    theirs = {int(pid): (name, state) for pid, name, state in re.findall(r"^(\d+) \((.*)\) (\S) ", said, re.MULTILINE)}
    stack = session.owner.call(lambda: shell.run("cat /proc/1/stack"))
    kept = re.findall(r"^\[<0>\] (\w+)", stack, re.MULTILINE)  # without those of the scheduler
    with GdbSession(session, gdb=gdb_path) as gdb:
        listed = THREAD.findall(gdb.execute("info threads"))
        ours = {int(number): (name, state[0]) for _, number, name, state, _ in listed}
        running = [int(number) for _, number, _, state, _ in listed if state == "running"]
        assert ours.pop(IDLE)[0] == "swapper/0"
        assert len(running) == 1
        assert ours.keys() == theirs.keys()
        assert ours[running[0]][0] == theirs[running[0]][0] == "sh"
        for pid in ours.keys() - set(running):
            assert theirs[pid][0].startswith(ours[pid][0].split("/")[0])  # /proc adds what a worker works on
            assert ours[pid][1] == theirs[pid][1]
        (init,) = [number for number, pid, *_ in listed if pid == "1"]
        frames = re.findall(r"^#\d+ +0x[0-9a-f]+ in (\w+)", gdb.execute(f"thread apply {init} backtrace"), re.MULTILINE)
        assert frames[-len(kept) :] == kept
        every = gdb.execute("thread apply all backtrace 2")
        assert every.count("__switch_to (") == len(listed) - 1


def test_a_task_that_does_not_run(gdb: GdbSession) -> None:
    before = gdb.register("sp")
    (init,) = [number for number, pid, *_ in THREAD.findall(gdb.execute("info threads")) if pid == "1"]
    gdb.execute(f"thread {init}")
    assert "<unavailable>" in gdb.execute("print $x0")
    assert gdb.register("pc") != 0
    assert gdb.register("sp") != before
    with pytest.raises(GdbError, match=r"task 1 does not run|E01"):
        gdb.execute("print $sp = 1")
    with pytest.raises(GdbError, match="Cannot access memory"):
        gdb.execute("x/x 0x400000")


def test_a_breakpoint_for_one_task(session: Session, gdb: GdbSession) -> None:
    """It stops the task that it is for. The thread of a stop is the task that the guest executes then."""
    listed = THREAD.findall(gdb.execute("info threads"))
    (shell,) = [int(pid) for _, pid, _, state, _ in listed if state == "running"]
    (number,) = [number for number, _, _, state, _ in listed if state == "running"]
    gdb.execute("monitor console ls /; echo over")
    gdb.execute("tbreak __arm64_sys_exit_group")
    gdb.continue_to_stop(PATIENCE)
    (running,) = [task for task in session.ask("tasks") if task.running]
    assert running.comm == "ls"
    assert f"(Thread 1.{running.pid} " in gdb.execute("thread").replace(")", " ")
    gdb.execute(f"break vfs_write thread {number}")
    gdb.continue_to_stop(PATIENCE)
    assert [task.pid for task in session.ask("tasks") if task.running] == [shell]


def test_turned_off(session: Session, gdb_path: str) -> None:
    assert session.run("threads") == "gdb's threads: the tasks of the guest\n"
    assert session.run("threads cpu") == "gdb's threads: the CPU\n"
    with GdbSession(session, gdb=gdb_path) as gdb:
        assert re.search(r"^\* 1 +Thread 1\.1 .*CPU 0", gdb.execute("info threads"), re.MULTILINE)
        assert "\n  2 " not in gdb.execute("info threads")


@pytest.mark.parametrize("words", [b"qSupported:multiprocess+;qRelocInsn+", b"qSupported:multiprocess+"])
def test_the_packets(session: Session, words: bytes) -> None:
    """A client that is not gdb sees the CPU. No thread but the one that runs can step or be written."""
    pid = next(task.pid for task in session.ask("tasks") if task.running)
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as client:
        client.ask(words)
        if b"qRelocInsn" not in words:
            assert client.ask(b"qfThreadInfo") == b"mp1.1"
            assert b"thread:p1.1;" in client.ask(b"?")
            return
        listed = client.ask(b"qfThreadInfo").removeprefix(b"m").split(b",")
        assert {b"p1.1", b"p1.2", b"p1.%x" % pid, b"p1.400000"} <= set(listed)
        assert b"thread:p1.%x;" % pid in client.ask(b"?")
        assert client.ask(b"qC") == b"QCp1.%x" % pid
        assert client.ask(b"Tp1.2") == client.ask(b"Hcp1.2") == client.ask(b"Hgp1.2") == b"OK"
        registers = client.ask(b"g")
        assert registers.startswith(b"x" * 16 * 19)
        assert client.ask(b"P1f=0000000000000000").startswith(b"E")
        assert client.ask(b"G" + registers.replace(b"x", b"0")).startswith(b"E")
        assert client.ask(b"m400000,8").startswith(b"E")
        told = client.ask(b"vCont;s:p1.2")
        assert b"task 2 does not run, so it cannot step" in bytes.fromhex(told.removeprefix(b"O").decode())
        assert client.packet().startswith(b"E")
        client.send(b"+")
        for strange in (b"Tp1.7fffffff", b"Hgp1.7fffffff", b"Tp2.1", b"Hgp7.1", b"qThreadExtraInfo,p1.7fffffff"):
            assert client.ask(strange).startswith(b"E")
