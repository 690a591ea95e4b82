# SPDX-License-Identifier: GPL-2.0-or-later
"""Stepping by source lines, list and info line, against gdb on the same guest."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.session.authority import Asker
from armprobe.stub import serve
from tests.waiting import PATIENCE  # tests have no import name to go by

pytestmark = pytest.mark.sample(of="files")

SOURCES = Path(__file__).parents[2] / "guests/demo"


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=slab_round")
        yield session


def in_gdb(gdb_path: str, *lines: str, start: str = "slab_round") -> str:
    """What gdb prints, stopped at the same place of an equal guest."""
    with Session("demo", memory="16M") as other:
        other.run(f"continue until={start}")
        with serve(other, "127.0.0.1:0") as server:
            asked = [part for line in (f"target remote {server.address}", *lines) for part in ("-ex", line)]
            command = [gdb_path, "-nx", "-q", "-batch", *asked]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def test_next_goes_from_line_to_line_as_gdb_does(session: Session, gdb_path: str) -> None:
    said = in_gdb(gdb_path, *["next", "info line *$pc"] * 12)
    theirs = [int(number) for number in re.findall(r'^Line (\d+) of "', said, re.MULTILINE)]
    assert len(theirs) == 12
    ours = [session.ask("n").line.number for _ in range(12)]
    assert ours == theirs


def test_step_goes_into_functions_with_lines(session: Session) -> None:
    seen = []
    for _ in range(8):
        answer = session.ask("s")
        seen.append(answer.stop.location.symbol)
        text = (SOURCES / "kernel/rounds.c").read_text().splitlines()
        if answer.line.file.endswith("kernel/rounds.c"):
            assert answer.line.text == text[answer.line.number - 1]
    assert "next_random" in seen or "kmalloc" in seen
    assert "slab_round" in seen


@pytest.mark.parametrize(("start", "times"), [("slab_round", 12), ("kmalloc", 12), ("list_round", 8)])
@pytest.mark.sample
def test_until_goes_where_gdb_s_goes(start: str, times: int, gdb_path: str) -> None:
    """Through loops, and back to the callers."""
    with Session("demo", memory="16M") as session:
        session.run(f"continue until={start}")
        ours = [session.ask("until").stop.location.address for _ in range(times)]
    said = in_gdb(gdb_path, *["until", "output/x $pc", "echo \\n"] * times, start=start)
    theirs = [int(address, 16) for address in re.findall(r"^0x[0-9a-f]+$", said, re.MULTILINE)]
    assert ours == theirs


def test_until_runs_a_loop_to_its_end(session: Session) -> None:
    """By instruction, where no line is known; single steps of so many rounds would take minutes."""
    # mov x9, #0xf000 ; 1: sub x9, x9, #1 ; cbnz x9, 1b ; nop, in the place of a function's beginning
    code = struct.pack("<4I", 0xD29E_0009, 0xD100_0529, 0xB5FF_FFE9, 0xD503_201F)
    start = session.machine.symbols["vectors"].address
    session.machine.memory.write(start, code)
    session.run(f"set $pc = {start + 8}")
    session.run("set $x9 = 0xf000")
    session.run("until")
    assert (session.machine.registers.pc, session.machine.registers.x[9]) == (start + 12, 0)


def test_info_line_names_what_gdb_names(session: Session, gdb_path: str) -> None:
    said = in_gdb(gdb_path, "info line *kmalloc", "info line *kfree")
    for name, (number, file) in zip(("kmalloc", "kfree"), re.findall(r'Line (\d+) of "(.*?)"', said), strict=True):
        found = session.ask(f"i line {name}")
        assert (found.line.number, found.line.file.endswith(file)) == (int(number), True)
        assert found.start.symbol == name


def test_list_shows_the_source_around_a_place(session: Session) -> None:
    shown = session.ask("l kfree")
    text = (SOURCES / "kernel/slab.c").read_text().splitlines()
    assert len(shown) == 10
    assert [line.text for line in shown] == text[shown[0].number - 1 :][:10]
    assert any("kfree(const void *p)" in line.text for line in shown)
    assert [line.current for line in session.ask("l")].count(True) == 1


def test_list_is_not_for_a_debugger_that_may_read_no_files(session: Session) -> None:
    said: list[str] = []
    assert not session.owner.call(session.shell.execute_for, Asker.OTHER, "list kfree", said.append)
    assert said[0].startswith("list reads files of this computer")
    assert len(said) == 1
    assert session.owner.call(session.shell.execute_for, Asker.TRUSTED, "list kfree", said.append)
    assert "kfree(const void *p)" in "".join(said[1:])


def test_without_lines_it_goes_by_instruction_and_says_so(session: Session) -> None:
    remarks: list[str] = []
    session.on_notice(remarks.append)
    session.ask("set $pc = vectors")
    with pytest.raises(CommandError, match="no source line is known of"):
        session.ask("l")
    answer = session.ask("n")
    assert answer.line is None
    assert remarks == ["note: no source line is known here: it goes by instruction\n"]
    assert session.machine.guest.dwarf is not None


def test_a_breakpoint_ends_next(session: Session) -> None:
    session.ask("b kmalloc")
    for _ in range(5):
        answer = session.ask("n")
        if answer.stop.reason == "breakpoint":
            break
    assert answer.stop.text == "breakpoint 1"
    assert answer.line is None


def test_lines_back_are_among_those_that_gdb_goes_back_through(gdb_path: str) -> None:
    """gdb also stops at each beginning of a piece of a line, and at lines that no probe can be put on."""
    said = in_gdb(gdb_path, "finish", *["reverse-next", "info line *$pc"] * 30, start="kfree")
    theirs = [int(number) for number in re.findall(r'^Line (\d+) of "', said, re.MULTILINE)]
    assert len(theirs) == 30
    with Session("demo", memory="16M") as session:
        session.run("continue until=kfree")
        session.run("finish")
        ours = [session.ask("rn").line.number for _ in range(6)]
    rest = iter(theirs)
    assert all(number in rest for number in ours), (ours, theirs)  # in this order


def test_reverse_step_goes_into_calls_from_their_end(session: Session) -> None:
    session.run("continue until=kfree")
    session.run("finish")
    session.run("rs")
    assert session.machine.symbols.describe(session.machine.registers.pc).startswith("kfree+")
    session.run("reverse-finish")
    assert session.machine.symbols.describe(session.machine.registers.pc).startswith("slab_round+")
