# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's formats at the prompt, and assignments."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.stub import serve
from tests.waiting import PATIENCE  # tests have no import name to go by


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=kfree")
        yield session


NUMBERS = ("x/4gx $sp", "x/5wx $sp", "x/3hd $sp", "x/9xb $sp", "x/2gu $sp", "x/2wt $sp", "x/2go $sp", "x/2gd $sp")
PRINTED = ("p/x 255", "p/d -1", "p/u (char)5", "p/t 5", "p/o 8", "p/o 0", "p/c 97", "p/c 10", "p/z (char)5", "p/x $x0")
TEXT = b'say "no"\n\t\\\0\x1b\xff!\0'


def test_numbers_are_shown_as_gdb_shows_them(session: Session, gdb_path: str) -> None:
    """Of what gdb prints, <symbol+offset> is left out: its offsets are decimal."""
    address = session.machine.registers.sp - 64
    session.machine.memory.write(address, TEXT)
    lines = [*NUMBERS, *PRINTED, f"x/2s {address:#x}", f"x/3c {address:#x}"]
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
        ("p/x workload", "workload is a struct workload, and a format is for a number"),
        ("p/s 5", "the format s is for memory: write x/s ADDRESS"),
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
