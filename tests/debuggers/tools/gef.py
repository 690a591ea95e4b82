# SPDX-License-Identifier: GPL-2.0-or-later
"""GEF, a file of Python for gdb, where its own installer puts it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.stub import serve
from tests.debuggers.driver import Gdb
from tests.debuggers.programs import PROGRAMS, version
from tests.debuggers.tools.tool import Absent, Ask, Row, Subject, Tool


class _Gef(Gdb):
    prompt = "gef➤  "


def _file() -> Path:
    found = sorted(Path.home().glob(".gef*.py"))
    if not found:
        raise Absent("there is no ~/.gef*.py")
    return found[-1]


def _version() -> str:
    _file()
    return f"GEF in {version(PROGRAMS[0].install())}"


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    options = ("-x", str(GDBINIT), "-x", str(_file()))
    with (
        serve(subject.session, "127.0.0.1:0") as server,
        _Gef(PROGRAMS[0].install(), None, *options, environment={"ARMPROBE_GDB_PROXY": str(PROXY)}) as gdb,
    ):
        for setting in ("gef.disable_color True", "context.clear_screen False", "context.nb_lines_threads 100"):
            gdb.execute(f"gef config {setting}")
        gdb.attach(server.address)
        yield gdb.execute


def _registers(subject: Subject, said: str) -> None:
    shown = {name: int(value, 16) for name, value in re.findall(r"^\$(\w+) *: *(0x[0-9a-f]+)", said, re.MULTILINE)}
    machine = subject.session.machine.registers
    names = [*(f"x{n}" for n in range(31)), "sp", "pc"]
    assert {name: shown.get(name) for name in names} == {name: machine[name] for name in names}, said


def _context(subject: Subject, said: str) -> None:
    """The registers, the instruction at pc, the threads by name, and where they are."""
    _registers(subject, said)
    pc = subject.session.machine.registers.pc
    found = re.search(rf"→ +{pc:#x} <(\w+)[+>]", said)
    assert found, said
    start = subject.facts.symbols[found[1]]
    assert 0 <= pc - start < 0x1000, found[0]
    threads = re.findall(r'^\[#\d+\] Id \d+, Name: "([^"]+)"', said, re.MULTILINE)
    missing = [name for name in subject.facts.tasks.values() if name[:15] not in threads and "kworker" not in name]
    assert not missing, (missing, said)


def _vmmap(subject: Subject, said: str) -> None:
    regions = [
        (int(start, 16), int(end, 16), access)
        for start, end, access in re.findall(r"^(0x\w+) (0x\w+) 0x\w+ ([r-][w-][x-])", said, re.MULTILINE)
    ]
    assert len(regions) > 50, said

    def access_of(address: int) -> list[str]:
        return [access for start, end, access in regions if start <= address < end]

    assert access_of(subject.facts.symbols["vfs_read"]) == ["r-x"]
    assert access_of(subject.session.machine.registers.sp) == ["rw-"]
    module = subject.facts.modules["virtio"][0]
    assert access_of(module) == ["r-x"]


def _stack(subject: Subject, said: str) -> None:
    sp = subject.session.machine.registers.sp
    shown = re.findall(r"^(0x[0-9a-f]+)│\+0x[0-9a-f]+: +(0x[0-9a-f]+)", said, re.MULTILINE)
    memory = subject.session.machine.memory
    expected = [(sp + 8 * at, memory.u64(sp + 8 * at)) for at in range(4)]
    assert [(int(address, 16), int(value, 16)) for address, value in shown] == expected, said


def _pi(subject: Subject, said: str) -> None:
    assert said.strip() == f"ARM64 {subject.session.machine.registers.pc:#x}", said


def _xinfo(subject: Subject, said: str) -> None:
    pc = subject.session.machine.registers.pc
    found = re.search(r"Symbol: (\w+)\+(\d+)", said)
    assert found, said
    assert subject.facts.symbols[found[1]] + int(found[2]) == pc, said
    assert "Permissions: r-x" in said, said


def _beside(subject: Subject, said: str) -> None:
    """armprobe's view after a stop, and the tool's own."""
    pc = subject.session.machine.registers.pc
    assert re.search(rf"^-- registers.*^[^\n]*\bpc  {pc:016x}$", said, re.MULTILINE | re.DOTALL), said
    _context(subject, said)


def _stop(subject: Subject, said: str) -> None:
    """The view at a probe's stop."""
    assert subject.session.machine.registers.pc == subject.facts.symbols["vfs_read"]
    assert "kprobe vfs_read: stage pre, hit 1" in said, said
    _context(subject, said)


GEF = Tool(
    "GEF",
    _version,
    _opened,
    (
        Row("context", "the machine's registers, /proc/kallsyms, /proc/PID/stat", _context),
        Row("registers", "the machine's registers", _registers),
        Row("vmmap", "/proc/kallsyms, /proc/modules: what may be read, written and executed", _vmmap),
        Row("dereference -l 4 $sp", "the machine's memory", _stack),
        Row("xinfo $pc", "/proc/kallsyms", _xinfo),
        Row("pi print(gef.arch.arch, hex(gef.arch.pc))", "the machine's registers", _pi),
        Row("kprobe vfs_read stop=pre; console true; continue", "/proc/kallsyms", _stop),
        Row("guest-context regs; stepi", "the machine's registers, in both views", _beside),
    ),
)
