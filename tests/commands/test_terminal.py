# SPDX-License-Identifier: GPL-2.0-or-later
"""What leaves for a terminal: harmless whoever said it, whole whatever pieces it came in, and without the streams too.

Which sequences control a terminal is ECMA-48's; that an OSC may end in BEL is xterm's (ctlseqs, "Operating System
Commands").
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from armprobe.clients.gdb_session import GdbSession
from armprobe.commands import Session
from armprobe.commands.terminal import Lines
from armprobe.session.console_text import ConsoleText
from armprobe.stub.visible import visible
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

TITLE = "\x1b]0;mine\x07"
ARMPROBE = [sys.executable, "-m", "armprobe"]


@hypothesis.given(st.text())
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if c not in "\t\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
    shown.encode()  # nor what cannot be written


PARTS = ("é", "€", "\r\n", "\x1b[31m", TITLE, "\x1bPq\x1b\\", "\x1b(B", "a", "~ # ")


@hypothesis.given(st.lists(st.sampled_from(PARTS)))
@hypothesis.settings(max_examples=50)
def test_output_in_pieces_is_the_output_in_one(parts: list[str]) -> None:
    data = "".join([*parts, "."]).encode()
    whole = ConsoleText().add(data)
    text = ConsoleText()
    assert "".join(text.add(data[i : i + 1]) for i in range(len(data))) == whole
    assert whole == "".join("\n" if p == "\r\n" else p for p in [*parts, "."] if "\x1b" not in p)


def test_a_sequence_that_never_ends_is_not_waited_for() -> None:
    text = ConsoleText()
    received = sum(len(text.add(b"\x1b]" + b"x" * 1000)) for _ in range(100))
    assert received > 90_000


def test_lines_of_several_speakers() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.add("log", "guest")
    lines.add("in: ", "guest")
    lines.add("stopped\n", "command")
    lines.add("root", "guest")
    lines.end()
    lines.end()
    assert "".join(said) == "login: \nstopped\nroot\n"


@pytest.fixture
def demo_console() -> "tuple[Session, list[str]]":
    session, said = Session("demo"), list[str]()
    session.on_notice(said.append)
    session.show_console()
    return session, said


def print_(session: Session, text: str) -> None:
    for byte in text.encode():
        session.machine.console.transmitted(byte)


def test_a_prompt_without_line_end_is_shown(demo_console: tuple[Session, list[str]]) -> None:
    session, said = demo_console
    shown = threading.Event()
    session.on_notice(lambda text: shown.set())
    with session:
        print_(session, "login: ")
        assert shown.wait(PATIENCE)
        print_(session, "héllo\r\n")
    assert said == ["login: ", "héllo\n"]


def test_what_is_left_of_a_line_is_shown_at_the_stop(demo_console: tuple[Session, list[str]]) -> None:
    session, said = demo_console
    with session:
        print_(session, "Password: ")
        session.run("continue instructions=1")
        assert "".join(said) == "Password: "


def test_the_console_of_a_guest_in_gdb(gdb_path: str) -> None:
    with Session("demo") as session, GdbSession(session, gdb=gdb_path) as gdb:
        print_(session, f"a{TITLE}b\x1b[2Jc\x9bd\r\n")
        assert gdb.execute("monitor console") == "abc?d\n"
        first, second = "é".encode()
        session.machine.console.transmitted(first)
        assert "nothing since" in gdb.execute("monitor console")
        session.machine.console.transmitted(second)
        assert gdb.execute("monitor console") == "é\n"


def run(*arguments: bytes | str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*ARMPROBE, *arguments], capture_output=True, timeout=PATIENCE, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "arguments",
    [
        [f"/nothing{TITLE}"],
        [b"/nothing\xff"],
        [f"--nothing{TITLE}"],
        ["--snapshot", f"/{TITLE}"],
        ["script", f"/{TITLE}"],
        ["script", f"/{TITLE}.py"],
        ["-c", f"kprobe {TITLE}"],
        ["decode", f"/nothing{TITLE}"],
        ["--listen", f"unix:/nothing/{TITLE}", "serve"],
    ],
)
@pytest.mark.sample
def test_errors_that_quote_the_command_line(arguments: list[str | bytes]) -> None:
    done = run(*arguments, stdin=subprocess.DEVNULL)
    assert done.returncode in (1, 2)
    assert done.stderr
    assert not set(done.stdout + done.stderr) & set(b"\x1b\x07\xff")
    assert b"Traceback" not in done.stderr


def closing(*descriptors: int) -> Callable[[], None]:
    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


@pytest.mark.parametrize("descriptors", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("arguments", [["-c", "info"], ["-c", "nothing"], []])
@pytest.mark.sample
def test_streams_that_are_closed(descriptors: tuple[int, ...], arguments: list[str]) -> None:
    done = run("--listen", "none", *arguments, preexec_fn=closing(*descriptors), stdin=subprocess.DEVNULL)
    assert done.returncode == int("nothing" in arguments)
    assert b"Traceback" not in done.stderr
    assert bool(done.stdout) == ("info" in arguments and 1 not in descriptors)


@pytest.mark.parametrize("arguments", [["-c", "info"], ["--help"], ["serve", "--listen", "none"]])
def test_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*ARMPROBE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith("standard output cannot be written: No space left on device\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["\ufeffprobes\n", "\ufeffprobes\r\n", "\ufeff# a comment\r\nprobes"])
@pytest.mark.sample
def test_scripts_of_other_editors(text: str, tmp_path: Path) -> None:
    """With a byte order mark, and lines that end in CR LF."""
    script = tmp_path / "script"
    script.write_text(text, newline="")
    for done in (run("script", str(script)), run("--listen", "none", input=text.encode())):
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"no probes")


def test_a_script_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b"\xff\n")
    assert b"it is not text" in run("script", str(tmp_path / "script")).stderr
    done = run("--listen", "none", input=b"\xff\nprobes\n")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: there is no command")
