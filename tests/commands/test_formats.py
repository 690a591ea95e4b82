# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's formats at the prompt, and assignments."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.kernel import typed_memory
from armprobe.stub import serve
from tests.waiting import PATIENCE  # tests have no import name to go by

Tool = Callable[[str, str], str]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=kfree")
        yield session


NUMBERS = ("x/4gx $sp", "x/5wx $sp", "x/3hd $sp", "x/9xb $sp", "x/2gu $sp", "x/2wt $sp", "x/2go $sp", "x/2gd $sp")
PRINTED = ("p/x 255", "p/d -1", "p/u (char)5", "p/t 5", "p/o 8", "p/o 0", "p/c 97", "p/c 10", "p/z (char)5", "p/x $x0")
SIGNS = ("p/c (signed char)-56", "p/c (unsigned char)200", "p/a -5")
VALUES = Path(__file__).parents[1] / "kernel" / "values.c"
"""A struct `object` with a member of each kind of type."""
FLOATS = ("f", "large", "d")
"""Of these gdb shows the bits by x and z only."""
TEXT = b'say "no"\n\t\\\0\x1b\xff!\0'


def test_numbers_are_shown_as_gdb_shows_them(session: Session, gdb_path: str) -> None:
    """Of what gdb prints, <symbol+offset> is left out: its offsets are decimal."""
    address = session.machine.registers.sp - 64
    session.machine.memory.write(address, TEXT)
    lines = [*NUMBERS, *PRINTED, *SIGNS, f"x/2s {address:#x}", f"x/3c {address:#x}"]
    with serve(session, "127.0.0.1:0") as server:
        script = ["set pagination off", f"target remote {server.address}"]
        for line in lines:
            script += [f"echo === {line}\\n", line]
        asked = [part for line in script for part in ("-ex", line)]
        done = subprocess.run(
            [gdb_path, "-nx", "-q", "-batch", *asked], capture_output=True, text=True, check=True, timeout=PATIENCE
        )
    answers = dict(re.findall(r"=== (.*)\n((?:(?!===).*\n?)*)", done.stdout))
    assert answers.keys() == set(lines)
    for line in lines:
        theirs = re.sub(r"(?m)^\$\d+ = ", "", answers[line])
        theirs, ours = (re.sub(r" <[^>]*>", "", text) for text in (theirs, session.run(line)))
        assert ours == theirs.split("[Inferior")[0], line


def _numbers(text: str, ours: bool) -> list[str]:
    """The numbers in a value, without the zeros at its end, which ours leaves out of arrays."""
    if ours:
        text = "\n".join(line.rpartition(")")[2] for line in text.splitlines())  # without the types
    found = re.findall(r"-?(?:0x[0-9a-f]+|\d+)(?: '(?:\\\d+|\\.|[^\\'])')?", re.sub(r" <[^>]*>", "", text))
    while found and re.fullmatch(r"(0x)?0+( .*)?", found[-1]):
        found.pop()
    return found


@pytest.mark.parametrize("letter", "xduotzca")
def test_members_are_shown_as_gdb_shows_them(letter: str, tool: Tool, gdb_path: str, tmp_path: Path) -> None:
    """In hexadecimal and so on: every number of a struct and of an array, bit fields, enumerators, pointers."""
    compiler, program = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), tmp_path / "a.elf"
    options = ["-g", "-fno-pie", "-no-pie", "-nostdlib", "-Wl,--build-id=none", "-Wl,--entry=0x40080000"]
    options += ["-Wl,-Ttext=0x40080000", "-Wl,-Tdata=0x40090000"]
    subprocess.run([compiler, *options, "-o", program, VALUES], check=True)
    with Session(str(program), memory="16M") as session:
        members = [name for name in typed_memory(session.machine).types["all"].members if name not in FLOATS]
        places = [f"object.{name}" for name in members]
        if letter in "xz":
            places += [f"object.{name}" for name in FLOATS]
        script = ["set print elements unlimited", "set print repeats unlimited", "set print max-depth unlimited"]
        for place in places:
            script += [f"echo === {place}\\n", f"p/{letter} {place}"]
        done = subprocess.run(
            [gdb_path, "-nx", "-q", "-batch", *(part for line in script for part in ("-ex", line)), program],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        answers = dict(re.findall(r"=== (.*)\n\$\d+ = (.*)", done.stdout))
        assert answers.keys() == set(places)
        for place in places:
            assert _numbers(session.run(f"p/{letter} {place}"), True) == _numbers(answers[place], False), place


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("x/q $sp", "'/q' is no format: write /, a count, one of x d u o t z c a s i"),
        ("x/xx $sp", "'/xx' is no format"),
        ("x/4gx", "needs an address after the format"),
        ("x/0x $sp", "at least 1"),
        ("x/999999gx $sp", "1 to 65536 bytes"),
        ("x/999999i $pc", "1 to 4096 instructions"),
        ("x/gx 8", "0x8 is not mapped"),
        ("x/s nosuch", "there is no symbol 'nosuch'"),
        ("x $sp 4 5", "does not know what to do with '5'"),
        ("p/i 5", "the format i is for memory: write x/i 5"),
        ("p/2x 5", "print takes a letter as its format"),
        ("p/x", "print takes a letter as its format"),
        ("set $x0", "'$x0' assigns nothing: write set $x0 = 5"),
        ("set $x0 == 5", "'$x0 == 5' assigns nothing"),
        ("set $nosuch = 5", "there is no register 'nosuch'"),
        ("set workload = 1", "workload is no register and no number in memory"),
        ("set 5 = 1", ""),
        ("set *(u32 *)8 = 1", "0x8 is not mapped"),
        ("set $x0 = workload", "workload is no number, but a struct workload"),
    ],
)
def test_what_cannot_be_is_refused(session: Session, line: str, error: str) -> None:
    with pytest.raises(CommandError) as caught:
        session.ask(line)
    assert error in str(caught.value)


def test_what_can_be_read_is_shown_before_the_error(session: Session) -> None:
    sp = session.machine.registers.sp
    end = next(region.end for region in session.machine.memory.mapped()[0] if region.start <= sp < region.end)
    with pytest.raises(CommandError, match="is not mapped") as caught:
        session.ask(f"x/6gx {end - 16:#x}")
    assert [row.location.address for row in caught.value.value] == [end - 16]  # type: ignore[attr-defined]


def test_without_a_format_examine_shows_bytes(session: Session) -> None:
    assert session.run("x $sp 16") == session.run("examine $sp 16")
    assert session.ask("x $sp").data == session.machine.memory.read(session.machine.registers.sp, 64)
    assert session.ask("x/2i $pc") == session.ask("disassemble $pc 2")


def test_set_changes_registers_and_memory(session: Session) -> None:
    machine = session.machine
    assert session.run("set $x9 = $x10 + 5") == f"$x9 = {machine.registers.x[10] + 5:#x}\n"
    assert machine.registers.x[9] == machine.registers.x[10] + 5
    sp = machine.registers.sp
    after = machine.memory.read(sp + 4, 4)
    assert session.ask("set var *(u32 *)$sp=0x1_2345678".replace("_", "")).value == 0x12345678
    assert machine.memory.read(sp, 8) == bytes.fromhex("78563412") + after
    session.ask("set workload.failures = 7")
    assert session.ask("print workload.failures").number == 7
    session.ask("set $x30 = 0x1234")
    assert machine.registers.x[30] == 0x1234


def test_completion_behind_a_format(session: Session) -> None:
    assert "kmem_cache_free" in session.complete("x/8i kmem_cache_f")
