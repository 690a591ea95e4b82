# SPDX-License-Identifier: GPL-2.0-or-later
"""Types in DWARF, as gdb reads them from the same file."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.kernel import dwarf
from armprobe.kernel.dwarf import Dwarf
from armprobe.machine import MachineError
from armprobe.machine.loaders import DEMO

Tool = Callable[[str, str], str]

SOURCE = """
struct inner { short a; char b; };
struct declared;
union both { long number; char bytes[12]; };
struct all {
    char first;
    unsigned low : 3, : 2, middle : 7;
    unsigned long long high : 40;
    union { int number; struct { char deep; long deeper : 33; }; void *pointer; };
    struct inner named;
    struct declared *later;
    struct { int x; } array[3];
    enum { A, B } kind;
    unsigned char last : 1;
};
struct all object; union both other;
"""
FIELDS = """
import gdb, json
def fields(type, start):
    for each in type.fields():
        if each.name:
            yield each.name, start + each.bitpos, each.bitsize or None
        else:
            yield from fields(each.type, start + each.bitpos)
said = {}
for tag in ("struct", "union"):
    for line in gdb.execute("info types .", to_string=True).splitlines():
        words = line.rstrip(";").split()
        if words[-2:-1] == [tag]:
            type = gdb.lookup_type(tag + " " + words[-1])
            if type.fields():
                said[words[-1]] = [type.sizeof, list(fields(type, 0))]
print(json.dumps(said))
"""


def in_gdb(gdb: str, program: Path) -> dict[str, list[object]]:
    """The structs and unions of a program: size in bytes, and name, bit offset and bits of their members."""
    said = subprocess.run(
        [gdb, "-nx", "-batch", "-ex", f"python exec({FIELDS!r})", str(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[object]] = json.loads(said.stdout.splitlines()[-1])
    return found


def ours(program: Path, names: list[str]) -> dict[str, list[object]]:
    types = Dwarf(program)
    return {
        name: [types[name].size, [[m.name, m.bit_offset, m.bit_field_size] for m in types[name].members.values()]]
        for name in names
    }


@pytest.mark.parametrize("version", [3, 4, 5])
def test_every_kind_of_member(tool: Tool, gdb_path: str, tmp_path: Path, version: int) -> None:
    """Bit fields are described in one way up to DWARF 3, and in another one since."""
    compiler, program = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), tmp_path / "a.elf"
    (tmp_path / "a.c").write_text(SOURCE)
    options = [f"-gdwarf-{version}", "-gstrict-dwarf", "-fno-pie", "-no-pie", "-nostdlib", "-Wl,-e0"]
    subprocess.run([compiler, *options, "-o", program, tmp_path / "a.c"], check=True)
    theirs = in_gdb(gdb_path, program)
    assert theirs.keys() == {"all", "both", "inner"}
    assert ours(program, list(theirs)) == theirs
    assert "declared" not in Dwarf(program)


def test_demo_kernel(gdb_path: str) -> None:
    theirs = in_gdb(gdb_path, DEMO)
    assert theirs.keys() >= {"task_struct", "pt_regs", "kmem_cache", "list_head"}
    assert ours(DEMO, list(theirs)) == theirs


def test_through_the_kernel() -> None:
    """Before its first instruction: the file is enough. SP_EL0 is the task, and its name as in kernel/sched.c."""
    demo = machine.load("demo", memory="16M")
    assert demo.kernel is not None
    comm = demo.kernel.types["task_struct"].offset("comm")
    demo.run(until="workload_round")
    assert demo.memory.read(demo.registers["sp_el0"] + comm, 9) == b"workload\0"


def section_header(data: bytes | bytearray, name: bytes) -> int:
    """The offset of a section's header (System V ABI, "Sections")."""
    (shoff,), (shnum, shstrndx) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<2H", data, 60)
    strings = struct.unpack_from("<Q", data, shoff + 64 * shstrndx + 24)[0]
    for number in range(shnum):
        at = strings + struct.unpack_from("<I", data, shoff + 64 * number)[0]
        if data[at : at + len(name) + 1] == name + b"\0":
            return int(shoff) + 64 * number
    raise AssertionError(name)


def changed(tmp_path: Path, name: bytes, field: int, value: int) -> Path:
    """The demo kernel with another 64-bit `field` in the header of a section."""
    data = bytearray(DEMO.read_bytes())
    struct.pack_into("<Q", data, section_header(data, name) + field, value)
    (tmp_path / "changed.elf").write_bytes(data)
    return tmp_path / "changed.elf"


FLAGS, OFFSET, SIZE = 8, 24, 32


@pytest.mark.parametrize(
    ("section", "field", "value", "words"),
    [
        (b".debug_info", FLAGS, 0x800, "has compressed debug information: decompress it with objcopy"),
        (b".debug_info", SIZE, 2 << 30, "has more than 1,073,741,824 bytes of debug information"),
        (b".debug_info", OFFSET, 1 << 40, "is cut short"),
        (b".debug_abbrev", SIZE, 5, "is damaged"),
        (b".debug_abbrev", SIZE, 0, "is damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, section: bytes, field: int, value: int, words: str) -> None:
    path = changed(tmp_path, section, field, value)
    with pytest.raises(MachineError, match=words) as refused:
        Dwarf(path)["task_struct"].members  # noqa: B018
    assert "\n" not in str(refused.value)


def test_no_debug_information(tool: Tool, tmp_path: Path) -> None:
    strip = tool("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu")
    subprocess.run([strip, "-g", "-o", tmp_path / "stripped.elf", DEMO], check=True)
    with pytest.raises(MachineError, match=r"stripped.elf has no debug information: build it with CONFIG_DEBUG_INFO"):
        Dwarf(tmp_path / "stripped.elf")


def test_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dwarf, "_MOST", 20)
    with pytest.raises(MachineError, match="takes too long to search for one name: more than 20 entries"):
        Dwarf(DEMO)["kmem_cache"].members  # noqa: B018
