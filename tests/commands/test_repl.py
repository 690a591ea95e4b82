# SPDX-License-Identifier: GPL-2.0-or-later
"""The REPL, by keys sent to prompt_toolkit, by lines through a pipe, and in a real terminal."""

import os
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from armprobe.commands import runner
from armprobe.commands.repl import BANNER, Repl
from tests.commands.toy import Said, ToySession
from tests.waiting import PATIENCE  # tests have no import name to go by

pytestmark = pytest.mark.sample(of="files")

ROOT = Path(__file__).parents[2]
LEAVE = "\x04"
PROBED = "symbol=kfree count=1 stop=() max_active=None\n"
# A process with the REPL on a toy session. As many notices as its argument says come after SIGUSR1.
PROGRAM = """
import signal, sys, threading, time
from armprobe.commands.repl import Repl
from armprobe.commands.script import run_lines
from tests.commands.toy import ToySession

session = ToySession()
def notify():
    for number in range(int(sys.argv[1])):
        session.notice(f"notice {number}\\x1b[31m\\r\\n")
        time.sleep(0.02)
signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=notify).start())
sys.exit(Repl(session, session.registry).run() if sys.stdin.isatty() else run_lines(session, sys.stdin))
"""


class Screen(DummyOutput):
    """Keeps what the REPL writes, without what prompt_toolkit draws."""

    def __init__(self, columns: int = 1000) -> None:
        self.text, self._columns = "", columns

    def get_size(self) -> Size:
        """Of the terminal."""
        return Size(40, self._columns)

    def write_raw(self, data: str) -> None:
        if get_app_or_none() is None:
            self.text += data


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as keys:
        yield keys


def typed(keys: PipeInput, session: ToySession, text: str, columns: int = 1000) -> str:
    """What is said in answer to the keys, after the banner."""
    keys.send_text(text)
    screen = Screen(columns)
    assert Repl(session, session.registry, keys, screen).run() == 0
    assert screen.text.startswith(BANNER)
    return screen.text.removeprefix(BANNER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("probe kfree\r", PROBED),
        ("probe nothing\r", "error: there is no function nothing\n"),
        ("defect\r", "error: this is a defect in armprobe: ZeroDivisionError: a defect of the command's own\n"),
        ("probe 'x\rtick\r", "error: a quote is opened and never closed: 'x\ntick 1\n"),
        ("tick\r\r\r", "tick 1\ntick 2\ntick 3\n"),
        ("tick\rprobes\r\r", "tick 1\nnone\n"),
        ("tick\rwrong\r\r", "tick 1\nerror: there is no command 'wrong'; help lists the commands\n"),
        ("\r\rtick\r", "tick 1\n"),
        ("probe zzz\x03tick\r", "tick 1\n"),
        ("ti\t\r", "tick 1\n"),
        ("tk\t\r", "tick 1\n"),
        ("probe kfree stp\tpo\t\r", PROBED.replace("()", "('post',)")),
        ("probe kfree max\t3\r", PROBED.replace("max_active=None", "max_active=3")),
        ("probe kfree sto\tpo\t\r", PROBED.replace("()", "('post',)")),
        # What a terminal sends for a paste (xterm, "Bracketed Paste Mode"): each line is a command.
        ("\x1b[200~tick\nprobes\n\n  tick\n\x1b[201~\r", "tick 1\nnone\ntick 2\n"),
        ("\x1b[200~wrong\ntick\x1b[201~\r", "error: there is no command 'wrong'; help lists the commands\ntick 1\n"),
        ("\x1b[200~quit\ntick\x1b[201~\r", ""),
    ],
)
def test_typing(keys: PipeInput, session: ToySession, text: str, expected: str) -> None:
    assert typed(keys, session, text + LEAVE) == expected


def test_an_error_fits_the_terminal(keys: PipeInput, session: ToySession) -> None:
    said = typed(keys, session, "defect\r" + LEAVE, columns=80)
    assert said == "error: this is a defect in armprobe: ZeroDivisionError: a defect of the\ncommand's own\n"


def test_quit_leaves(keys: PipeInput, session: ToySession) -> None:
    assert typed(keys, session, "tick\rquit\rtick\r") == "tick 1\n"


def test_what_a_guest_says_cannot_control_the_terminal(
    keys: PipeInput, session: ToySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Said("a\x1b[2Jb\x9bc\x07\td\r\ne\rf\n")
    monkeypatch.setattr(session, "perform", lambda line, show, remark: show(said))
    assert typed(keys, session, "tick\r" + LEAVE) == "a?[2Jb?c?\td\ne?f\n"


def test_history_is_kept_between_sessions(keys: PipeInput, session: ToySession, state_home: Path) -> None:
    typed(keys, session, "probes\r" + LEAVE)
    history = state_home / "armprobe/history"
    assert "+probes" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    with create_pipe_input() as again:
        assert typed(again, session, "\x1b[A\r" + LEAVE) == "none\n"


def test_history_that_cannot_be_kept_is_done_without(
    keys: PipeInput, session: ToySession, state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state_home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(state_home / "file"))  # nothing can be made below a file
    assert typed(keys, session, "probes\r" + LEAVE) == "none\n"


@pytest.fixture
def in_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")


@contextmanager
def ctrl_c(*events: threading.Event, then: threading.Event | None = None) -> Iterator[None]:
    """Meanwhile, send what a terminal sends for Ctrl-C after each of the events. Then set the last event."""

    def press() -> None:
        for event in events:
            assert event.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGINT)
        if then:
            then.set()

    thread = threading.Thread(target=press)
    thread.start()
    yield
    thread.join(PATIENCE)


@pytest.mark.usefixtures("in_main_thread")
def test_ctrl_c_interrupts_what_runs(keys: PipeInput, session: ToySession) -> None:
    with ctrl_c(session.started):
        assert typed(keys, session, f"wait {PATIENCE:.0f}\rtick\r" + LEAVE) == "started\ninterrupted\ntick 1\n"


@pytest.mark.usefixtures("in_main_thread")
def test_ctrl_c_ends_a_paste(keys: PipeInput, session: ToySession) -> None:
    with ctrl_c(session.started):
        said = typed(keys, session, f"\x1b[200~wait {PATIENCE:.0f}\ntick\ntick\x1b[201~\rprobes\r" + LEAVE)
    assert said == "started\ninterrupted\nthe 2 lines that were pasted after this one are not run\nnone\n"


@pytest.mark.usefixtures("in_main_thread")
def test_a_second_ctrl_c_abandons_what_does_not_stop(
    keys: PipeInput, session: ToySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(session, "interrupt", asked.set)
    monkeypatch.setattr(runner, "TIME_TO_STOP", 0.0)
    with ctrl_c(session.started, asked):
        said = typed(keys, session, f"wait {PATIENCE:.0f}\rtick\r" + LEAVE)
    assert said == "started\nerror: it did not stop when asked to, and may go on unseen\ntick 1\n"


@pytest.mark.usefixtures("in_main_thread")
def test_ctrl_c_pressed_twice_at_once_abandons_nothing(
    keys: PipeInput, session: ToySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the command ends, which the first has asked it to."""
    asked, pressed = threading.Event(), threading.Event()
    interrupt = session.interrupt

    def slowly() -> None:
        asked.set()
        assert pressed.wait(PATIENCE)
        interrupt()

    monkeypatch.setattr(session, "interrupt", slowly)
    monkeypatch.setattr(runner, "TIME_TO_STOP", PATIENCE)
    with ctrl_c(session.started, asked, then=pressed):
        said = typed(keys, session, f"wait {PATIENCE:.0f}\rtick\r" + LEAVE)
    assert said == "started\ninterrupted\ntick 1\n"


def child(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *arguments]


def piped(lines: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(child(), input=lines, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False)


def test_lines_from_a_pipe_get_no_prompt_and_a_status() -> None:
    done = piped("# a comment\nprobe kfree\n\ntick\n")
    assert (done.stdout, done.stderr, done.returncode) == (PROBED + "tick 1\n", "", 0)


def test_a_line_that_fails_does_not_stop_the_next_but_counts() -> None:
    done = piped("probe nothing\ntick\nquit\ntick\n")
    assert done.stdout == "tick 1\n"
    assert done.stderr == "error: there is no function nothing\n"
    assert done.returncode == 1


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    with subprocess.Popen(
        child(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stdin
        assert process.stderr
        process.stdin.write("hits 10\ntick\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1


class Terminal:
    """The user's side of a pseudo-terminal with a REPL, in `process`, at the other."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self.descriptor = descriptor
        self.process = process
        self.received = b""
        self.position = 0

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def expect(self, pattern: str) -> None:
        """Wait until what has come since the last match, control sequences aside, has the pattern in it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(text := self.text(), self.position)):
            assert time.monotonic() < deadline, f"{pattern!r} does not come: {text[self.position :]!r}"
            assert self.read(), f"it ended before {pattern!r}: {text[self.position :]!r}"
        self.position = found.end()

    def expect_end(self) -> None:
        """Wait until the process ends, which must be with success."""
        deadline = time.monotonic() + PATIENCE
        while self.read():
            assert time.monotonic() < deadline, f"it does not end: {self.text()[self.position :]!r}"
        assert self.process.wait(PATIENCE) == 0

    def read(self) -> bool:
        """Take what has come, and answer as a terminal would; False at the end."""
        if select.select([self.descriptor], [], [], 0.1)[0]:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:  # EIO: the other side is closed
                return False
            self.received += data
            if b"\x1b[6n" in data:  # where is the cursor?
                self.type("\x1b[1;1R")
        return True

    def text(self) -> str:
        """What has come, without the sequences that move the cursor and the like (ECMA-48, 5.4)."""
        return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", self.received.decode(errors="ignore"))


@contextmanager
def terminal(*arguments: str, term: str = "xterm") -> Iterator[Terminal]:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {**os.environ, "TERM": term}
    process = subprocess.Popen(
        child(*arguments), cwd=ROOT, env=environment, preexec_fn=lambda: os.login_tty(theirs), close_fds=False
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_in_a_terminal() -> None:
    with terminal() as user:
        user.expect("help lists the commands")
        user.expect("armprobe>")
        user.expect("toy  stopped")
        user.type("pro\t")
        user.expect("be")
        user.type("\t")
        user.expect("Put a probe on a function")  # in a menu, with what they are
        user.expect("List the probes")
        user.type(" kfree stop=po\t\r")
        user.expect(r"stop=\('post',\) max_active=None\r\n")
        user.type("probe nothing\r")
        user.expect("error: there is no function nothing\r\n")
        user.type(f"wait {PATIENCE:.0f}\r")
        user.expect("started\r\n")
        user.type("\x03")  # while a command runs, the terminal makes a signal of it
        user.expect("interrupted\r\n")
        user.expect("armprobe>")
        user.type("junk\x03tick\r")  # at the prompt it is a key
        user.expect("tick 1\r\n")
        user.type("quit\r")
        user.expect_end()


def test_in_a_terminal_that_knows_no_escape_sequences() -> None:
    """terminfo's "dumb", which a shell in Emacs says it is."""
    with terminal(term="dumb") as user:
        user.expect("armprobe> ")
        user.type("tich\x7fk\r")  # the terminal's own erase character (termios(3): VERASE)
        user.expect("tick 1\r\n")
        user.type(f"wait {PATIENCE:.0f}\r")
        user.expect("started\r\n")
        user.type("\x03")
        user.expect("interrupted\r\n")
        user.expect("armprobe> ")
        user.type("junk\x03")  # the terminal drops what is typed, and perhaps its echo (termios(3): NOFLSH)
        user.expect(r"\r\narmprobe> ")
        user.type("tick\r")
        user.expect("tick 2\r\n")
        user.type("\x04")
        user.expect_end()
        assert b"\x1b" not in user.received


@pytest.mark.parametrize("key", ["\x03", "\x04", "n", " "])
@pytest.mark.sample
def test_many_candidates_are_listed_without_a_question(key: str) -> None:
    """More than fit on the screen, where prompt_toolkit asks; whatever is typed then."""
    with terminal() as user:
        user.expect("armprobe>")
        user.type("many \t")
        user.expect("many name")  # as far as all agree; the prompt may have been painted before
        user.type("\t")
        user.expect(r"name000 +name\d+")
        user.expect(r"\.\.\. and 100 more: type more of the word\r\n")
        user.expect("armprobe> many name")  # before that the terminal itself edits what is typed
        user.type(key)
        user.type("\x15tick\r")
        user.expect("tick 1\r\n")
        user.type("quit\r")
        user.expect_end()


def test_notices_come_above_the_prompt_and_leave_the_line_alone() -> None:
    with terminal("20") as user:
        user.expect("armprobe>")
        user.type("probe kf")
        user.expect("probe kf")
        user.process.send_signal(signal.SIGUSR1)
        for number in range(20):
            user.expect(rf"notice {number}\?\[31m\r\n")
        user.expect("armprobe> probe kf")
        user.type("ree\r")
        user.expect("symbol=kfree")
        user.expect("armprobe>")
        user.type(LEAVE)
        user.expect_end()


def test_notices_while_a_command_runs_and_none_is_lost() -> None:
    with terminal("50") as user:
        user.expect("armprobe>")
        user.type("wait 1\rtick\rtick\rwait 1\rprobes\r")
        user.expect("started")
        user.process.send_signal(signal.SIGUSR1)
        for number in range(50):
            user.expect(rf"notice {number}\?\[31m\r\n")
        user.expect("none\r\n")
        user.expect("armprobe>")
        user.type(LEAVE)
        user.expect_end()
