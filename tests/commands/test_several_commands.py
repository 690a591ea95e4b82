# SPDX-License-Identifier: GPL-2.0-or-later
"""Several commands in a line, commands of this computer's shell, and the exit status of programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.commands import CommandError, Session
from armprobe.commands import script as scripts
from armprobe.commands.catalog import registry
from armprobe.commands.cli import main
from armprobe.commands.values import Answers, Completed, PrintedLine
from armprobe.session.authority import Asker
from armprobe.stub import serve
from tests.commands.test_authority import monitor, proxied  # tests have no import name to go by
from tests.stub.client import Client


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("probes", ["probes"]),
        ("si;si ; probes;", ["si", "si ", " probes"]),
        ("echo 'a;b' \"c;d\" e\\;f; probes", ["echo 'a;b' \"c;d\" e\\;f", " probes"]),
        ("si; sh ls; ls", ["si", "sh ls; ls"]),
        ("!ls; ls", ["shell ls; ls"]),
        ("event p:a kfree x=%x0; echo b", ["event p:a kfree x=%x0; echo b"]),
        ("query SELECT 1; SELECT 2", ["query SELECT 1; SELECT 2"]),
        ("latency kfree while ls; ls", ["latency kfree while ls; ls"]),
        ("count kfree by x0; counts", ["count kfree by x0", " counts"]),
        ("x/2i $pc; x/s $sp", ["x /2i $pc", " x/s $sp"]),
        ("si # a; b", ["si # a; b"]),
        (" ; ;", []),
        ("both; si", ["si", " probes", " si"]),
    ],
)
def test_the_commands_of_a_line(line: str, expected: list[str]) -> None:
    commands = registry()
    commands.alias("both", "si; probes")
    found = commands.commands_in(line)
    assert [str(each).strip() for each in found] == [each.strip() for each in expected]


@given(st.lists(st.text("ab ;'\"$", min_size=1).map(shlex.quote), min_size=1, max_size=5))
def test_what_is_quoted_is_no_end(words: list[str]) -> None:
    """As the shell's own quoting has it."""
    commands = registry().commands_in("; ".join(f"echo {word}" for word in words))
    assert [shlex.split(str(command)) for command in commands] == [["echo", *shlex.split(word)] for word in words]


def test_one_answers_after_the_other(session: Session) -> None:
    answers = session.ask("echo a; echo b")
    assert isinstance(answers, Answers)
    assert answers == (PrintedLine("a"), PrintedLine("b"))
    assert session.run("echo a; echo b") == "a\nb\n"


def test_the_first_that_fails_ends_the_line(session: Session) -> None:
    said: list[str] = []
    with pytest.raises(CommandError, match="there is no command 'nosuch'"):
        session.execute("echo a; nosuch; echo b", said.append)
    assert said == ["a\n"]


def test_a_debugger_has_them_too(session: Session) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert monitor(debugger, "echo a; echo b") == "a\nb\n"


def test_shell(session: Session, tmp_path: Path) -> None:
    answer = session.ask(f"!cd {tmp_path}; echo 'a;b'; exit 3")
    assert (answer.out, answer.status) == ("a;b\n", 3)
    assert session.ask("shell kill -9 $$").status == 128 + 9


@pytest.mark.parametrize("trust_tcp", [False, True])
def test_no_debugger_has_the_shell(session: Session, tmp_path: Path, trust_tcp: bool) -> None:
    """Not even one that may touch files, nor in a file that it has armprobe run."""
    script = tmp_path / "script"
    script.write_text(f"shell touch {tmp_path}/made\n")
    lines = [f"!touch {tmp_path}/made", f"shell touch {tmp_path}/made", f"she touch {tmp_path}/made"]
    lines += [f"source {script}", f"echo a; !touch {tmp_path}/made"]
    with serve(session, "127.0.0.1:0", trust_tcp=trust_tcp) as server, Client(server.address) as debugger:
        for line in lines:
            said = monitor(debugger, line) + proxied(debugger, line)[1]
            assert "for no debugger" in said or "not for a debugger" in said
    assert not (tmp_path / "made").exists()
    session.run(f"source {script}")
    assert (tmp_path / "made").exists()
    assert "which no debugger may do" in session.run("help shell")


@pytest.mark.parametrize("line", ["!ls", "shell ls", "she ls", "si; !ls"])
def test_no_alias_has_the_shell(line: str) -> None:
    """A project's settings come with a checkout."""
    with pytest.raises(CommandError, match="may not stand for a command of this computer's shell"):
        registry().alias("ll", line)


@pytest.mark.parametrize("line", ["shell exit 3", "echo a; shell exit 3; echo b"])
def test_the_exit_status_of_a_program(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the status of `sh -c` is that of its command, and `set -e` ends a script."""
    assert main(["-c", line, "-c", "echo c"]) == 3
    assert "b" not in capsys.readouterr().out.replace("bytes", "")
    script = tmp_path / "script"
    script.write_text(f"{line}\necho after\n")
    assert main(["script", str(script)]) == 3
    out, err = capsys.readouterr()
    assert "after" not in out
    assert f"{script}:1: the program has ended with exit status 3" in err
    with Session("demo") as demo, pytest.raises(CommandError, match=rf"{script}:1: the program has ended"):
        demo.run(f"source {script}")


def test_json_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "-c", "echo a; !echo b"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert [each["text"] if "text" in each else each["out"] for each in line["value"]] == ["a", "b\n"]


def test_a_guest_s_program(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.guest, "sh", lambda command, timeout: Completed("", "", 7))
    assert scripts.run_lines(session, ["sh false"]) == 7


def test_debuggers_of_this_user_keep_their_rights() -> None:
    assert Asker.TRUSTED.may | Asker.LOCAL.may == Asker.LOCAL.may != Asker.TRUSTED.may
