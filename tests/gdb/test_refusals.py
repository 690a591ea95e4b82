# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb refuses, or the machine at gdb's request, raises in a `GdbSession`, in gdb's own words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import GdbError, GdbSession, Session

NOT_DEFINED = 'Function "nosuch" not defined.'


@pytest.fixture(scope="module")
def kept(gdb_path: str, gdbinit: Path) -> Iterator[GdbSession]:
    """A gdb for all of the refusals, none of which changes anything."""
    with Session("demo") as session, GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        yield gdb


@pytest.mark.parametrize(
    ("command", "message"),
    [
        *((f"{command} nosuch", NOT_DEFINED) for command in ("break", "tbreak", "hbreak", "trace", "advance", "until")),
        ('dprintf nosuch,"hit\\n"', NOT_DEFINED),
        ("break nosuch.c:3", "No source file named nosuch.c."),
        ("print nosuch", 'No symbol "nosuch" in current context.'),
        *((f"{command} 99", "No breakpoint number 99.") for command in ("delete", "enable", "disable", "commands")),
        ("undisplay 99", "No display number 99."),
        ("delete display 99", "No display number 99."),
        ("monitor nosuch", "there is no command 'nosuch'; help lists the commands"),
        ("monitor kprobe nosuch", "ENOENT: there is no symbol 'nosuch'"),
        ("mon kprobe nosuch", "ENOENT: there is no symbol 'nosuch'"),
        ("kprobe nosuch", "ENOENT: there is no symbol 'nosuch'"),
    ],
)
def test_a_refusal_raises(kept: GdbSession, command: str, message: str) -> None:
    with pytest.raises(GdbError) as raised:
        kept.execute(command)
    assert str(raised.value) == message
    assert kept.execute("echo and goes on") == "and goes on"


def test_an_exception_of_python_is_told(kept: GdbSession) -> None:
    with pytest.raises(GdbError, match="what it says"):
        kept.execute("python raise ValueError('what it says')")


@pytest.mark.parametrize(
    ("line", "message"), [("break nosuch", NOT_DEFINED), ("monitor nosuch", "there is no command 'nosuch'")]
)
def test_a_refusal_inside_what_is_sourced_raises(kept: GdbSession, tmp_path: Path, line: str, message: str) -> None:
    script = tmp_path / "script"
    script.write_text(f"set $reached = 1\n{line}\nset $reached = 2\n")
    with pytest.raises(GdbError, match=message):
        kept.execute(f"source {script}")
    assert kept.evaluate("$reached") == "1"


def test_a_breakpoint_may_be_pending_where_that_is_asked_for(gdb: GdbSession) -> None:
    gdb.execute("set breakpoint pending on")
    assert "Breakpoint 1 (nosuch) pending." in gdb.execute("break nosuch")
