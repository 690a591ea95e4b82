# SPDX-License-Identifier: GPL-2.0-or-later
"""pwndbg, of which there is a clone in the user's folder, set up by its setup.sh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.stub import serve
from tests.debuggers.driver import Gdb
from tests.debuggers.programs import PROGRAMS, version
from tests.debuggers.tools.tool import Absent, Ask, Row, Subject, Tool

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m|[\x01\x02]")  # also what readline has around colours
_SETTINGS: Final = ("show-tips off", "kernel-vmmap monitor", "context-max-threads 100")


class _Pwndbg(Gdb):
    prompt = "pwndbg> "

    def answer(self) -> str:
        return _COLOUR.sub("", super().answer()).replace(self.prompt, "")


def _folder() -> Path:
    folder = Path.home() / "pwndbg"
    if not (folder / "gdbinit.py").is_file():
        raise Absent("there is no ~/pwndbg/gdbinit.py")
    return folder


def _version() -> str:
    found = re.search(r'__version__ = "([^"]+)"', (_folder() / "pwndbg/lib/version.py").read_text())
    return f"pwndbg {found[1] if found else ''} in {version(PROGRAMS[0].install())}"


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    options = ("-l", "60", "-x", str(GDBINIT), "-x", str(_folder() / "gdbinit.py"))
    with (
        serve(subject.session, "127.0.0.1:0") as server,
        _Pwndbg(PROGRAMS[0].install(), None, *options, environment={"ARMPROBE_GDB_PROXY": str(PROXY)}) as gdb,
    ):
        for setting in _SETTINGS:
            gdb.execute(f"set {setting}")
        gdb.attach(server.address)
        yield gdb.execute


def _context(subject: Subject, said: str) -> None:
    """The registers, the instruction at pc with its symbol, and the threads by name."""
    found = re.findall(r"^[ *](X\d+|SP|LR|PC) +(0x[0-9a-f]+|\d+)", said, re.MULTILINE)
    shown = {name: int(value, 0) for name, value in found}
    machine = subject.session.machine.registers
    names = {**{f"X{n}": f"x{n}" for n in range(30)}, "LR": "x30", "SP": "sp", "PC": "pc"}
    assert shown == {name: machine[ours] for name, ours in names.items()}, said
    at = re.search(rf"► {machine.pc:#x} <(\w+)(?:\+(\d+))?>", said)
    assert at, said
    assert subject.facts.symbols[at[1]] + int(at[2] or 0) == machine.pc, said
    threads = re.findall(r'^ +►? *\d+ +"([^"]+)"', said, re.MULTILINE)
    missing = [name for name in subject.facts.tasks.values() if name[:15] not in threads and "kworker" not in name]
    assert not missing, (missing, said)


def _version_said(subject: Subject, said: str) -> None:
    assert said.strip().startswith(f"Linux version {subject.facts.release} "), said


def _base(subject: Subject, said: str) -> None:
    """The first page of code: the page with the header of the Image before it is not mapped to be executed."""
    assert said.strip() == f"Found virtual text base address: {subject.facts.symbols['_stext']:#x}", said


def _vmmap(subject: Subject, said: str) -> None:
    """Which memory there is, and whether it may be written."""
    regions = [
        (int(start, 16), int(end, 16), access)
        for start, end, access in re.findall(r"^(?:►| )* *(0x\w+) +(0x\w+) (r[w-])", said, re.MULTILINE)
    ]
    assert len(regions) > 50, said

    def access_of(address: int) -> list[str]:
        return [access for start, end, access in regions if start <= address < end]

    assert access_of(subject.facts.symbols["vfs_read"]) == ["r-"]
    assert access_of(subject.facts.modules["virtio"][0]) == ["r-"]
    assert access_of(subject.session.machine.registers.sp) == ["rw"]


def _telescope(subject: Subject, said: str) -> None:
    sp, memory = subject.session.machine.registers.sp, subject.session.machine.memory
    shown = re.findall(r"^\d\d:\d{4}│ .*?(0x[0-9a-f]+) (?:—▸|◂—) (0x[0-9a-f]+|\d+)", said, re.MULTILINE)
    expected = [(sp + 8 * at, memory.u64(sp + 8 * at)) for at in range(4)]
    assert [(int(address, 16), int(value, 0)) for address, value in shown] == expected, said


def _lookup(subject: Subject, said: str) -> None:
    assert said.strip() == f"vfs_read = {subject.facts.symbols['vfs_read']:#x}", said


def _xinfo(subject: Subject, said: str) -> None:
    sp = subject.session.machine.registers.sp
    found = re.search(r"Mapped Area (0x\w+) = (0x\w+) \+ (0x\w+)", said)
    assert found, said
    address, start, offset = (int(number, 16) for number in found.groups())
    assert address == start + offset == sp, said


def _slabs(subject: Subject, said: str) -> None:
    found = {line.split()[0] for line in said.splitlines() if line.strip()}
    assert {*subject.facts.slabs} <= found, said


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


PWNDBG: Final = Tool(
    "pwndbg",
    _version,
    _opened,
    (
        Row("context", "the machine's registers, /proc/kallsyms, /proc/PID/stat", _context),
        Row("kversion", "/proc/version", _version_said),
        Row("kbase", "/proc/kallsyms: `_stext`", _base),
        Row("vmmap", "/proc/kallsyms, /proc/modules: what may be read and written", _vmmap),
        Row("telescope $sp 4", "the machine's memory", _telescope),
        Row("klookup vfs_read", "/proc/kallsyms", _lookup),
        Row("xinfo $sp", "the machine's registers", _xinfo),
        Row("slab list", "/proc/slabinfo", _slabs),
        Row("kprobe vfs_read stop=pre; console true; continue", "/proc/kallsyms", _stop),
        Row("guest-context regs; stepi", "the machine's registers, in both views", _beside),
    ),
)
