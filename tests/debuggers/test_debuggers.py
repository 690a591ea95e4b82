# SPDX-License-Identifier: GPL-2.0-or-later
"""The column of docs/debuggers.md for Debian's gdb, again; `make matrix` has the others."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.machine import MachineError
from armprobe.stub import Server, serve
from tests.debuggers.checks import CHECKS
from tests.debuggers.guests import GUESTS, Guest
from tests.debuggers.matrix import DOCUMENT, attempt, cell
from tests.debuggers.programs import PROGRAMS


@pytest.fixture(scope="module", params=GUESTS, ids=lambda guest: guest.name)
def guest(request: pytest.FixtureRequest) -> Guest:
    found = request.param
    assert isinstance(found, Guest)
    return found


@pytest.fixture(scope="module")
def session(guest: Guest) -> Iterator[Session]:
    """Where the kernel cannot be had that fails under CI, and is a skip elsewhere."""
    try:
        opened = guest.open()
    except (CommandError, MachineError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="module")
def server(session: Session) -> Iterator[Server]:
    with serve(session, "127.0.0.1:0") as server:
        yield server


def documented(program: str, guest: str, check: str) -> str:
    """What the table says."""
    lines = [line.split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    column = [title.strip(" |") for title in lines[0]].index(f"{program}, {guest}")
    return next(cells[column].strip(" |") for cells in lines if cells[0] == f"| {check}")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.sample
def test_gdb(
    check: str, guest: Guest, session: Session, server: Server, tmp_path: Path, tool: Callable[[str, str], str]
) -> None:
    gdb = PROGRAMS[0]
    result = attempt(check, tool(gdb.command, gdb.command), guest, session, server, tmp_path)
    assert cell(result) == documented(gdb.name, guest.name, check), result
