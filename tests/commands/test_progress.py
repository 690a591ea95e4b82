# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps that take time, told on a terminal and elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
from armprobe.commands.render.progress import Steps
with Steps() as steps:
    steps("fetching \\x1b]0;mine\\x07[bold]x")
    steps("booting")
"""


def test_in_a_pipe_a_step_is_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=600)
    assert done.stderr == "fetching ?]0;mine?[bold]x\nbooting\n"
    assert done.stdout == ""


def on_a_terminal(program: str, term: str) -> str:
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": term, "COLUMNS": "80"}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=environment)
    os.close(theirs)
    sent = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        sent += data
    os.close(ours)
    assert process.wait(600) == 0
    return sent.decode()


@pytest.mark.parametrize(("term", "timed"), [("xterm", True), ("dumb", False)])
def test_on_a_terminal_with_the_time_taken(term: str, timed: bool) -> None:
    sent = on_a_terminal(PROGRAM, term)
    assert "fetching ?]0;mine?[bold]x" in sent
    assert "booting" in sent
    assert ("0:00:0" in sent) == timed
    assert "\x07" not in sent


def test_nothing_is_shown_where_there_are_no_steps() -> None:
    assert on_a_terminal("from armprobe.commands.render.progress import Steps\nwith Steps(): pass", "xterm") == ""
