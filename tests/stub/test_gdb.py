# SPDX-License-Identifier: GPL-2.0-or-later
"""A real gdb attaches to the fake machine through the server."""

import re
import signal
import struct
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from armprobe.stub import Server, serve
from tests.stub.client import Client
from tests.stub.fake import BASE, NOP, SYSTEM_REGISTERS, FakeTarget
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.sample(of="files")

Gdb = Callable[..., str]

# A handler GDB is to run at the breakpoint, and go on: pyocd/pyOCD#1601 is an internal error of GDB's in such a loop.
BREAK_AND_CONTINUE = """
break *0x40000100
commands
silent
printf "hit %#lx\\n", $pc
continue
end
break *0x40000200
ignore 2 30
continue
"""


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    """An executable of NOPs at `BASE`: without a file, GDB warns on every attach, whatever the stub does."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 183, 1, BASE, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0x1000, BASE, BASE, 0x1000, 0x1000, 0x1000)
    path = tmp_path / "nops.elf"
    path.write_bytes((header + segment).ljust(0x1000, b"\0") + NOP * 0x400)
    return path


@pytest.fixture
def command(tool: Callable[[str, str], str], elf: Path, server: Server) -> list[str]:
    """How gdb is started, attached to `server`."""
    gdb = tool("gdb-multiarch", "gdb-multiarch")
    return [
        gdb,
        "-nx",
        "-batch",
        "-ex",
        f"set tcp connect-timeout {PATIENCE:.0f}",
        str(elf),
        "-ex",
        f"target remote {server.address}",
    ]


@pytest.fixture
def gdb(command: list[str]) -> Gdb:
    """gdb(command, ...): what gdb, attached, prints."""

    def run(*commands: str) -> str:
        arguments = [word for line in commands for word in ("-ex", line)]
        run = partial(subprocess.run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        return str(run([*command, *arguments], check=False).stdout)

    return run


def test_attach(gdb: Gdb) -> None:
    assert gdb() == "0x0000000040000000 in ?? ()\n[Inferior 1 (process 1) detached]\n"


def test_registers(gdb: Gdb, target: FakeTarget) -> None:
    said = gdb("info registers", "print $cpsr", "print/x $sctlr_el1", "p $v3.d.u", "p/x $w1", "print $fpcr", "p $sp")
    assert "warning" not in said
    shown = dict(re.findall(r"^(\w+) +(0x[0-9a-f]+) ", said, re.MULTILINE))
    names = [f"x{n}" for n in range(31)] + ["sp", "pc", "cpsr"] + [*SYSTEM_REGISTERS]
    assert {name: int(shown[name], 16) for name in names} == {name: target.registers[name] for name in names}
    assert "$1 = [ SP EL=1 F I A D BTYPE=0 ]\n" in said
    assert "$2 = 0x30d00800\n" in said
    assert "$3 = {1, 3}\n" in said
    assert "$4 = 0x1001\n" in said
    assert "$6 = (void *) 0x40010000\n" in said


def test_every_register(gdb: Gdb, target: FakeTarget) -> None:
    """None that is advertised is unavailable."""
    said = gdb("info all-registers")
    assert "unavailable" not in said
    assert {*target.registers} <= set(re.findall(r"^(\w+) ", said, re.MULTILINE))


def test_writing(gdb: Gdb, target: FakeTarget) -> None:
    said = gdb(
        "set $x7 = 0x1122334455667788",
        "set $sctlr_el1 = 0x0200000000000005",
        "set $v2.d.u[1] = 0x99",
        "set $cpsr = 0x3c4",
        "set {long} 0x40000800 = 0x0102030405060708",
        "set {char[4]} 0x40000900 = {0x23, 0x24, 0x7d, 0x2a}",
        "print/x {int[2]} 0x40000800",
    )
    assert "warning" not in said
    assert target.registers["x7"] == 0x1122334455667788
    assert target.registers["sctlr_el1"] == 0x0200_0000_0000_0005
    assert target.registers["v2"] == 0x99 << 64 | 1
    assert target.registers["cpsr"] == 0x3C4
    assert target.memory[0x800:0x808] == bytes.fromhex("0807060504030201")
    assert target.memory[0x900:0x904] == b"#$}*"
    assert "$1 = {0x5060708, 0x1020304}\n" in said


def test_disassembly_and_stepping(gdb: Gdb) -> None:
    said = gdb("x/4i $pc", "stepi", "stepi 3", "print $pc")
    assert re.findall(r"(0x4000000[0-9a-f]):\tnop", said) == ["0x40000000", "0x40000004", "0x40000008", "0x4000000c"]
    assert "$1 = (void (*)()) 0x40000010\n" in said


@pytest.mark.parametrize("kind", ["break", "hbreak", "tbreak", "thbreak"])
def test_breakpoints(gdb: Gdb, kind: str) -> None:
    said = gdb(f"{kind} *0x40000020", "continue", "stepi", "print $pc")
    assert re.search(r"^(Temporary b|B)reakpoint 1, 0x0000000040000020 in \?\? \(\)$", said, re.MULTILINE)
    assert "$1 = (void (*)()) 0x40000024\n" in said
    assert "SIG" not in said
    assert "warning" not in said


def test_breakpoint_commands_that_continue(gdb: Gdb, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(BREAK_AND_CONTINUE)
    said = gdb(f"source {script}")
    assert said.count("hit 0x40000100\n") == 31
    assert said.count("Breakpoint 2, 0x0000000040000200") == 1


def test_conditional_breakpoint(gdb: Gdb, target: FakeTarget) -> None:
    """GDB evaluates the condition where the stub does not say that it can."""
    data = BASE + 0x8000
    target.memory[0x8000:0x8004] = bytes(4)
    target.stores[BASE + 0x10] = data
    said = gdb(f"break *0x40000020 if *(int *) {data:#x} == 3", "continue", f"print *(int *) {data:#x}")
    assert "Breakpoint 1, 0x0000000040000020" in said
    assert "$1 = 3\n" in said


@pytest.mark.parametrize(
    ("kind", "title"), [("watch", "Hardware watchpoint"), ("awatch", "Hardware access (read/write) watchpoint")]
)
def test_watch(gdb: Gdb, target: FakeTarget, kind: str, title: str) -> None:
    data = BASE + 0x8000
    target.memory[0x8000:0x8004] = bytes(4)
    target.stores[BASE + 0x40] = data
    said = gdb(f"{kind} *(int *) {data:#x}", "continue", "print $pc")
    assert f"{title} 1: *(int *) {data:#x}\n\nOld value = 0\nNew value = 1\n" in said
    assert "$1 = (void (*)()) 0x40000044\n" in said


def test_read_watch(gdb: Gdb, target: FakeTarget) -> None:
    target.memory[0x8000:0x8004] = bytes(4)
    target.loads[BASE + 0x40] = BASE + 0x8000
    said = gdb("rwatch *(int *) 0x40008000", "continue")
    assert "Hardware read watchpoint 1: *(int *) 0x40008000\n\nValue = 0\n0x0000000040000044 in ?? ()\n" in said


def test_a_refused_watchpoint_is_explained(gdb: Gdb) -> None:
    said = gdb("watch *(char (*)[32]) 0x40008000", "continue")
    assert "Could not insert hardware" in said


def test_unreadable_memory(gdb: Gdb) -> None:
    said = gdb("x/x 0", "x/x 0xfffffffffffffffc", "backtrace", "x/x 0x40000000")
    assert "Cannot access memory at address 0x0\n" in said
    assert "Cannot access memory at address 0xfffffffffffffffc\n" in said
    assert "0x40000000:\t0xd503201f\n" in said


def test_threads_and_symbols(gdb: Gdb) -> None:
    said = gdb("info threads", "thread 1")
    assert re.search(r'^\* 1 +Thread 1\.1 +"CPU 0"', said, re.MULTILINE)
    assert "warning" not in said


def test_monitor(gdb: Gdb) -> None:
    said = gdb("monitor echo hello", "monitor what", "monitor refuse", "monitor lines 3", "print 1")
    assert "hello\n'what' is no command\nno: refused\nline 0\nline 1\nline 2\n$1 = 1\n" in said


def test_stop_text(gdb: Gdb, target: FakeTarget) -> None:
    target.text = "kprobe f: stage pre"
    said = gdb("stepi")
    assert "\nkprobe f: stage pre\n0x0000000040000004 in ?? ()\n" in said


def test_detach_and_attach_again(gdb: Gdb, server: Server, target: FakeTarget) -> None:
    again = f"target remote {server.address}"
    said = gdb("break *0x40000020", "stepi", "detach", again, "print $pc", "disconnect", again, "continue", "print $pc")
    assert "$1 = (void (*)()) 0x40000004\n" in said
    assert "$2 = (void (*)()) 0x40000020\n" in said
    assert "warning" not in said
    assert target.calls == ["attach", "detach"] * 3


def test_kill(gdb: Gdb, server: Server, target: FakeTarget) -> None:
    said = gdb("stepi", "kill", f"target remote {server.address}", "print $pc")
    assert "[Inferior 1 (process 1) killed]\n" in said
    assert "$1 = (void (*)()) 0x40000000\n" in said
    assert target.calls == ["attach", "kill", "detach", "attach", "detach"]


def test_power_off(gdb: Gdb, target: FakeTarget) -> None:
    target.powers_off_at = BASE + 0x20
    assert "[Inferior 1 (process 1) exited normally]\n" in gdb("continue")


def test_control_c(command: list[str], target: FakeTarget) -> None:
    with subprocess.Popen(
        [*command, "-ex", "continue", "-ex", "print $pc", "-ex", "monitor echo after"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_until(lambda: target.is_running, "gdb has resumed it")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert "Program received signal SIGINT, Interrupt." in said
    assert "\nafter\n" in said


def test_a_killed_gdb_leaves_the_machine_to_the_next(command: list[str], gdb: Gdb, target: FakeTarget) -> None:
    with subprocess.Popen(
        [*command, "-ex", "continue"], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        wait_until(lambda: target.is_running, "gdb has resumed it")
        process.kill()
    assert "warning" not in gdb("print $pc")
    assert target.calls == ["attach", "detach"] * 2


def test_a_second_gdb_is_told_why(server: Server, gdb: Gdb) -> None:
    with Client(server.address) as first:
        first.ask(b"qC")
        assert "another debugger is in control of this machine: detach it first" in gdb()
        assert first.ask(b"qC") == b"QC1"


def test_unix_socket(tool: Callable[[str, str], str], elf: Path, tmp_path: Path) -> None:
    gdb = tool("gdb-multiarch", "gdb-multiarch")
    with serve(FakeTarget(), f"unix:{tmp_path / 'stub'}") as server:
        path = server.address.removeprefix("unix:")
        arguments = [gdb, "-nx", "-batch", str(elf), "-ex", f"target remote {path}", "-ex", "print $pc"]
        said = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    assert "$1 = (void (*)()) 0x40000000\n" in said
