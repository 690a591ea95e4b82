# SPDX-License-Identifier: GPL-2.0-or-later
"""The prompt's commands that go back by lines and calls, held against gdb's own on the same machine."""

import itertools
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GdbSession
from armprobe.session import Session

pytestmark = pytest.mark.sample(of="files")


def walk(session: Session, gdb: GdbSession, command: str, count: int) -> list[int]:
    places = []
    for _ in range(count):
        gdb.execute(command)
        places.append(session.machine.instructions)
    return places


def test_instructions_over_calls_are_gdbs(session: Session, gdb_path: str, gdbinit: Path) -> None:
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        gdb.execute("break kfree")
        gdb.continue_to_stop()
        gdb.execute("delete")
        gdb.execute("finish")
        here = session.machine.instructions
        theirs = walk(session, gdb, "reverse-nexti", 15)
        assert max(before - after for before, after in itertools.pairwise(theirs)) > 10  # over a call
        session.machine.timeline.go(here)
        gdb.execute("disconnect")
    ours = []
    for _ in theirs:
        session.run("reverse-nexti")
        ours.append(session.machine.instructions)
    assert ours == theirs


def test_reverse_finish_goes_where_gdbs_does(session: Session, gdb_path: str, gdbinit: Path) -> None:
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        gdb.execute("break kfree")
        gdb.continue_to_stop()
        gdb.execute("delete")
        gdb.step()
        here = session.machine.instructions
        gdb.execute("reverse-finish")
        theirs = session.machine.instructions
        gdb.execute("disconnect")
    session.machine.timeline.go(here)
    session.run("reverse-finish")
    assert session.machine.instructions == theirs


def test_gdb_has_the_position(session: Session, gdb_path: str) -> None:
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("break kfree")
        gdb.continue_to_stop()
        assert gdb.execute('printf "%ld", $_position').strip() == str(session.machine.instructions)
        gdb.execute("reverse-stepi")
        assert gdb.execute('printf "%ld", $_position').strip() == str(session.machine.instructions)
        here = session.machine.instructions
        for command in ("monitor goto -100", "guest-goto -100", "set $x9 = 5", "call ((long (*)(char *)) strlen)($sp)"):
            gdb.execute(command)
            assert gdb.execute('printf "%ld", $_position').split()[-1] == str(session.machine.instructions), command
        assert session.machine.instructions < here - 150


LINES_BACK = 12


@pytest.mark.parametrize(
    ("command", "functions"),
    [
        ("reverse-next", ["kfree", "avl_insert", "vsnprintf"]),
        ("reverse-step", ["avl_insert", "cmp_u32", "quick_sort"]),  # in which no function is inlined
    ],
)
@pytest.mark.sample(of="tests")
def test_lines_are_gdbs(session: Session, gdb_path: str, gdbinit: Path, command: str, functions: list[str]) -> None:
    theirs: dict[int, list[int]] = {}
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        for function in functions:
            gdb.execute(f"tbreak {function}")
            gdb.continue_to_stop()
            gdb.execute("finish")
            here = session.machine.instructions
            theirs[here] = walk(session, gdb, command, LINES_BACK)
            gdb.execute(f"monitor goto {here}")
        gdb.execute("disconnect")
    for here, positions in theirs.items():
        session.machine.timeline.go(here)
        ours = []
        for _ in positions:
            session.run(command)
            ours.append(session.machine.instructions)
        assert ours == positions
