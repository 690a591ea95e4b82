# SPDX-License-Identifier: GPL-2.0-or-later
"""Executing backwards in a real gdb: what it shows is what it showed on the way forward."""

import re
from collections.abc import Iterator

import pytest

from armprobe.clients.gdb_session import GdbSession
from armprobe.session import Session

CHANGE = re.compile(r"Old value = (\d+)\nNew value = (\d+)")


@pytest.fixture
def gdb(session: Session, gdb_path: str) -> Iterator[GdbSession]:
    """Without the program: a breakpoint at a function's name is at its first instruction."""
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("break workload_round")
        gdb.continue_to_stop()
        gdb.execute("delete")
        yield gdb


def place(gdb: GdbSession) -> tuple[int, int, int]:
    return gdb.register("pc"), gdb.register("sp"), gdb.register("x0")


def test_instructions_back_are_those_forward(gdb: GdbSession) -> None:
    places = []
    for _ in range(12):
        places.append(place(gdb))
        gdb.step()
    for expected in reversed(places):
        gdb.execute("reverse-stepi")
        assert place(gdb) == expected


def test_reverse_continue_to_a_breakpoint_and_to_the_beginning(gdb: GdbSession) -> None:
    gdb.execute("break kmalloc")
    places = []
    for _ in range(4):
        gdb.continue_to_stop()
        places.append(place(gdb))
    for expected in reversed(places[:-1]):
        assert "Breakpoint" in gdb.execute("reverse-continue")
        assert place(gdb) == expected
    gdb.execute("delete")
    assert "No more reverse-execution history" in gdb.execute("reverse-continue")


def test_a_watchpoint_finds_who_wrote(gdb: GdbSession) -> None:
    gdb.execute("break kfree")
    gdb.continue_to_stop()
    address = gdb.register("sp") - 16
    gdb.execute("delete")
    gdb.execute(f"watch *(unsigned long *) {address:#x}")
    changes = []
    for _ in range(3):
        old, new = CHANGE.findall(gdb.continue_to_stop().console)[0]
        changes.append((new, old, gdb.register("pc") - 4))  # the store is before the PC
    gdb.step()
    for expected in reversed(changes):
        old, new = CHANGE.findall(gdb.execute("reverse-continue"))[0]
        assert (old, new, gdb.register("pc")) == expected


def test_going_on_from_the_past_shows_the_same_again(session: Session, gdb: GdbSession) -> None:
    gdb.execute("break kmalloc")
    forward = [gdb.continue_to_stop().pc for _ in range(5)]
    position = session.machine.instructions
    for _ in range(4):
        gdb.execute("reverse-continue")
    assert [gdb.continue_to_stop().pc for _ in range(4)] == forward[1:]
    assert session.machine.instructions == position


def test_a_question_about_the_past_is_no_change(gdb: GdbSession) -> None:
    """gdb is not told that the guest was changed from outside, by its own command or another's."""
    for _ in range(3):
        gdb.step()
    before = place(gdb)
    for question in ("last-write $sp", "calls workload_round", "monitor last-write $sp"):
        said = gdb.execute(question) + gdb.execute("print $pc")
        assert "changed from outside" not in said
    assert place(gdb) == before
