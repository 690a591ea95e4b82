# SPDX-License-Identifier: GPL-2.0-or-later
"""The look of the prompt: the line that is typed, and the status."""

from __future__ import annotations

import pytest
from prompt_toolkit.document import Document

from armprobe.commands.catalog import registry
from armprobe.commands.line_style import CommandLexer, fitted, wrapped

REGISTRY = registry()


def marked(line: str) -> list[tuple[str, str]]:
    parts = CommandLexer(REGISTRY).lex_document(Document(line))(0)
    assert "".join(part[1] for part in parts) == line
    return [(style.removeprefix("class:"), text) for style, text, *_ in parts if text.strip()]


def test_a_line_is_marked() -> None:
    assert marked('kprobe kfree stop=pre if x0 > 0x10 print "a;b", $x0 # why') == [
        ("command", "kprobe"),
        ("word", "kfree"),
        ("option", "stop="),
        ("word", "pre"),
        ("keyword", "if"),
        ("word", "x0"),
        ("word", ">"),
        ("number", "0x10"),
        ("keyword", "print"),
        ("string", '"a;b"'),
        ("word", ","),
        ("register", "$x0"),
        ("comment", "# why"),
    ]


@pytest.mark.parametrize(
    ("line", "first"),
    [("nosuch x", "unknown"), ("s", "command"), ("x/4gx $sp", "command"), ("!ls -l", "command"), ("kpro", "command")],
)
def test_the_command_is_known_or_not(line: str, first: str) -> None:
    assert marked(line)[0][0] == first


def test_each_command_of_a_line_is_marked() -> None:
    assert [text for kind, text in marked("si; probes;nosuch; x/i $pc") if kind == "command"] == ["si", "probes", "x"]
    assert [kind for kind, _ in marked("sh ls; ls")].count("command") == 1


@pytest.mark.parametrize("line", ["", "'", '"\\', "=", ";;", "\\", "x=", "é ü", "$", "a\tb", "#", "0x", "!"])
def test_any_line_can_be_marked(line: str) -> None:
    marked(line)


def test_a_status_fits() -> None:
    status = "linux  stopped as asked at finish_task_switch+0xd0 (0xffff8000800c1a50)  gdb: :1234"
    assert fitted(status, 140) == status
    for width in (80, 60, 40):
        text = fitted(status, width)
        assert len(text) <= width
        assert text.startswith("linux  ")
        assert text.endswith("gdb: :1234")
    assert len(fitted(status, 5)) == 5


def test_errors_break_between_words() -> None:
    error = "error: there is no symbol 'conut', nor has kfree an argument of that name: it has p\n  conut > 3\n  ^\n"
    assert wrapped(error, 200) == error
    lines = wrapped(error, 40).split("\n")
    assert max(map(len, lines)) <= 40
    assert " ".join(lines[:-3]) == error.split("\n")[0]
    assert lines[-3:] == ["  conut > 3", "  ^", ""]
    assert wrapped(f"error: {'x' * 50}\n", 40) == f"error:\n{'x' * 50}\n", "no name is broken"
