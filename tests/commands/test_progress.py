# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps that take time, told on a terminal and elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

pytestmark = pytest.mark.sample(of="files")

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


FOLLOWED = """
import time
from armprobe.commands.render import progress
progress._PATIENCE = PATIENCE
def items():
    yield 1
    time.sleep(0.01)  # longer than the patience, if that is 0
    yield 2
    yield 3
assert list(progress.followed("setting [bold]\\x07", items(), 3)) == [1, 2, 3]
"""


def test_a_bar_on_a_terminal_when_it_takes_long() -> None:
    sent = on_a_terminal(FOLLOWED.replace("= PATIENCE", "= 0"), "xterm")
    assert "setting [bold]?" in sent
    assert "/3" in sent


@pytest.mark.parametrize(("term", "patience"), [("dumb", "0"), ("xterm", "600")])
def test_no_bar_otherwise(term: str, patience: str) -> None:
    assert on_a_terminal(FOLLOWED.replace("= PATIENCE", f"= {patience}"), term) == ""


def test_no_bar_in_a_pipe() -> None:
    program = FOLLOWED.replace("= PATIENCE", "= 0")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert (done.stdout, done.stderr) == ("", "")


PATTERN = """
import sys
from armprobe.commands.render import progress
from armprobe.session import Session
from armprobe.session.authority import Asker
progress._PATIENCE = -1
with Session("demo") as session:
    ASK
"""


def test_a_pattern_shows_a_bar_to_the_user_of_the_terminal() -> None:
    sent = on_a_terminal(PATTERN.replace("ASK", "session.run('kprobe k*')"), "xterm")
    assert "setting kprobes on k*" in sent


def test_a_pattern_of_a_debugger_shows_none() -> None:
    ask = "session.owner.call(session.shell.execute_for, Asker.TRUSTED, 'kprobe k*', lambda text: None)"
    assert on_a_terminal(PATTERN.replace("ASK", ask), "xterm") == ""
