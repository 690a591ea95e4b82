# SPDX-License-Identifier: GPL-2.0-or-later
"""Text on a terminal: colours where they are wanted, tables that fit, and nothing of the guest's that controls it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from armprobe.commands import values
from armprobe.commands.cli import main
from armprobe.commands.render.styled import Styles
from armprobe.commands.render.text import as_text

# Select Graphic Rendition (ECMA-48, 8.3.117).
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def styles(monkeypatch: pytest.MonkeyPatch) -> Styles:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Styles(Terminal())


def row(number: int, name: str = "kfree", **fields: object) -> values.ProbeRow:
    known: dict[str, object] = {"hits": 0, "nmissed": 0, "state": "enabled", "optimized": False}
    known |= {"stop": (), "leaked": 0, "condition": None, "met": None, "aggregate": None}
    return values.ProbeRow(number, "kprobe", 0xFFFF800000083CC0, name, name, note=None, **{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        values.Stopped("probe", "kprobe f: stage pre", values.Location(0x1000, "f", 4, 8, None, False), None),
        values.Registered(row(1), values.Location(0x1000, "f", 0, 8, None, False), ("it is a warning",)),
        values.Disassembly(
            [values.Instruction(values.Location(4, None, 0, 0, None, False), 0xD503201F, "nop", True, None)]
        ),
        values.ConsoleOutput("error: no\ttabs\n\n"),
        values.Probes(),
        None,
    ],
)
def test_only_colours_are_added(styles: Styles, value: object) -> None:
    assert SGR.sub("", styles.value(value)) == as_text(value)
    assert Styles(io.StringIO()).value(value) == as_text(value)


def test_marks(styles: Styles) -> None:
    assert styles.text("error: what\n") == "\x1b[1;31merror\x1b[0m: what\n"
    assert styles.text("an error: what\n") == "an error: what\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_that_are_not_wanted(styles: Styles, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """https://no-color.org: attributes other than colours may stay."""
    usual = styles.text("error: what\n")
    monkeypatch.setenv(name, value)
    colours = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;\d+)*m")
    said = Styles(Terminal()).text("error: what\n")
    assert colours.search(usual)
    assert not colours.search(said)
    assert SGR.sub("", said) == "error: what\n"


def test_what_is_not_armprobe_s_cannot_control_the_terminal(styles: Styles) -> None:
    for said in (
        styles.value(values.Probes([row(1, "\x1b[2Ja\x07\x9b")])),
        styles.value(values.ConsoleOutput("\x1b[2Ja\x07\x9b")),
        styles.text("\x1b[2Ja\x07\x9b"),
    ):
        assert "?[2Ja??" in said
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", SGR.sub("", said))


def test_a_table_fits_the_terminal(styles: Styles) -> None:
    rows = [row(1, condition="x0 != 0 && *(u32 *)(x0 + 0x44) & 1 && x1 < 4096", met=3), row(1000, hits=123456789)]
    lines = SGR.sub("", styles.value(values.Probes(rows))).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["num", "kind", "where", "hits", "nmissed"]
    (first,) = [line for line in lines if line.startswith("   1  kprobe")]
    (last,) = [line for line in lines if line.startswith("1000  kprobe")]
    assert first.index("kfree") == last.index("kfree")
    assert "123456789" in last
    assert len(lines) > 3  # the condition takes several, in its column
    assert {line[: first.index("met=")].strip() for line in lines[2:-1]} == {""}
    words = "".join(line[first.index("met=") :] for line in lines[1:-1])
    assert words.replace(" ", "") == "met=3if" + str(rows[0].condition).replace(" ", "")


def test_a_traceback_begins_in_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program.py"
    program.write_text("def fails():\n    raise ValueError('\\x1b[2J')\nfails()\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["script", str(program)]) == 1
    said = SGR.sub("", capsys.readouterr().err)
    assert "runpy" not in said
    assert "ValueError: ?[2J" in said
    assert re.findall(r"(\w+\.py):(\d+) in (\S+)", said) == [
        ("program.py", "3", "<module>"),
        ("program.py", "2", "fails"),
    ]
    assert "\x1b" not in said
