# SPDX-License-Identifier: GPL-2.0-or-later
"""The same commands in several eras, and values in notebooks."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from armprobe.commands import Session
from armprobe.commands.cli import main
from armprobe.commands.render.compared import era_answers
from armprobe.commands.values import EraAnswer, EraAnswers, PrintedLine


def test_a_refusal_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    """v4.8 refuses the hints that wait by name; v6.1 all but some (aarch64_insn_is_steppable_hint)."""
    assert main(["compare", "--era", "v4.8,v6.1", "--json", "kprobe insn_yield"]) == 1
    line = json.loads(capsys.readouterr().out)
    old, new = line["value"]
    assert (old["era"], new["era"]) == ("v4.8", "v6.1")
    assert "the kernel refuses YIELD, WFE, WFI, SEV and SEVL" in old["text"]
    assert "the kernel lets only NOP, BTI, PAC* and XPACLRI" in new["text"]


def test_an_answer_that_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["kprobe kfree; continue instructions=300000", "probes"]
    assert main(["compare", "--era", "v6.1,v6.9", *lines]) == 0
    text = capsys.readouterr().out
    assert text.startswith("the same in v6.1, v6.9:\nkprobe 1: kfree at")
    with Session("demo", era="v6.1") as session:
        assert text.endswith("".join(session.run(line) for line in lines))


def test_one_era_is_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--era", "v6.1", "probes"]) == 1
    assert "compare takes several eras" in capsys.readouterr().err


@pytest.mark.parametrize("width", [60, 80, 140])
def test_side_by_side(width: int) -> None:
    """The marks are those of diff -y."""
    one, two = "same\nold\nonly\nend\n" + "w" * 100, "same\nnew\nend\nmore\n" + "w" * 100
    text = era_answers(EraAnswers([EraAnswer("v4.8", one), EraAnswer("v6.1", two), EraAnswer("v5.4", one)]), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["v4.8,", "v5.4", "v6.1"]
    seen = [line.split() for line in lines[2:]]
    assert seen[:5] == [["same", "same"], ["old", "|", "new"], ["only", "<"], ["end", "end"], [">", "more"]]


class _Cells(HTMLParser):
    """The texts of the cells, and the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _shown(value: object) -> _Cells:
    cells = _Cells()
    cells.feed(value._repr_html_())  # type: ignore[attr-defined]  # the method that IPython looks for
    return cells


def test_values_in_a_notebook() -> None:
    with Session("demo", memory="16M") as session:
        for line in (
            "probes",
            "info",
            "info registers",
            "symbols kfree",
            "kprobe kfree",
            "trace",
            "counts",
            "info mem",
        ):
            assert _shown(session.ask(line)).tags <= {"pre", "table", "thead", "tbody", "tr", "th", "td", "p"}
        assert "kfree" in "".join(_shown(session.ask("probes")).texts)


def test_a_guest_writes_no_html() -> None:
    evil = "<script>alert(1)</script>\x1b[2J&"
    for value in (PrintedLine(evil), EraAnswers([EraAnswer(evil, "x")])):
        shown = _shown(value)
        assert "script" not in shown.tags
        assert evil.replace("\x1b", "?") in "".join(shown.texts)
