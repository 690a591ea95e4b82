# SPDX-License-Identifier: GPL-2.0-or-later
"""The caret under a refused expression, in every front end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from wcwidth import wcswidth

from armprobe.commands import CommandError, Session
from armprobe.commands.cli import main
from armprobe.commands.errors import Excerpt
from armprobe.commands.render.errors import error_text
from armprobe.commands.repl import Repl
from armprobe.stub import serve
from tests.commands.test_repl import Screen  # tests have no import name to go by
from tests.stub.client import Client

LINE = "kprobe kfree if $x0 === 1"
# As a C compiler shows it: the third "=" is no operator here. gcc has its caret in the same column.
CARET = ["  $x0 === 1", "        ^"]
SENTENCE = "the expression $x0 === 1 is wrong at '= 1': a value was expected"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def test_at_the_prompt(session: Session) -> None:
    screen = Screen()
    with create_pipe_input() as keys:
        keys.send_text(f"{LINE}\r\x04")
        assert Repl(session, session.shell.registry, keys, screen).run() == 0
    assert [f"error: {SENTENCE}", *CARET] == screen.text.splitlines()[-3:]


def test_in_commands_and_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lines").write_text(f"{LINE}\n")
    for words, place in ((["-c", LINE], ""), (["script", str(tmp_path / "lines")], f"{tmp_path}/lines:1: ")):
        assert main(words) == 1
        assert capsys.readouterr().err.splitlines() == [f"error: {place}{SENTENCE}", *CARET]


def test_in_a_program(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"from armprobe import Session\nSession('demo').run({LINE!r})\n")
    ran = subprocess.run(
        [sys.executable, "-m", "armprobe", "script", "a.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.stderr.splitlines() == [f"armprobe: {SENTENCE}", *CARET]


def test_in_gdbs_monitor(session: Session) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as client:
        client.ask(b"qSupported:swbreak+")
        client.ask(b"?")
        reply = client.ask(b"qArmprobe.run:" + LINE.encode().hex().encode())
    assert reply[:1] == b"0"
    assert bytes.fromhex(reply[1:].decode()).decode().splitlines() == [SENTENCE, *CARET]


def test_a_notes_caret(session: Session) -> None:
    with pytest.raises(CommandError) as refused:
        session.run('kprobe kfree if $x0 print "%d", $x0 +')
    assert refused.value.excerpt == Excerpt('"%d", $x0 +', 11)
    assert error_text(refused.value).splitlines()[1:] == ['  "%d", $x0 +', "             ^"]


@pytest.mark.parametrize("text", ["日本", "e\u0301\u0301", "\uff46\uff55ll", "é"])
def test_caret_is_under_the_character_on_a_terminal(text: str) -> None:
    """Wide characters take two cells, combining ones none (Unicode Standard Annex 11; wcwidth has its tables)."""
    _, shown, caret = error_text(CommandError("no", excerpt=Excerpt(f"{text} = (", len(text) + 3))).splitlines()
    before = shown.partition("(")[0]
    assert shown == f"  {text} = ("
    assert caret == " " * wcswidth(before) + "^"


def test_control_characters_do_not_move_the_caret() -> None:
    _, shown, caret = error_text(CommandError("no", excerpt=Excerpt("a\t\x1b[2K\n(", 7))).splitlines()
    assert shown == "  a\\t\\x1b[2K\\n("
    assert caret.index("^") == shown.index("(")


@pytest.mark.parametrize("column", [0, 30, 5_000, 9_999, 10_000])
def test_long_text_is_shortened_around_the_caret(column: int) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(10_000))
    _, shown, caret = error_text(CommandError("no", excerpt=Excerpt(text, column))).splitlines()
    assert len(shown) < 80
    at = caret.index("^")
    assert shown[at - 2 : at].strip(". ") == text[max(0, column - 2) : column]
    assert shown[at : at + 1] == text[column : column + 1]
