# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of hits in a browser, wide and narrow, light and dark: it can be read, and a click shows the registers."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from armprobe.probes import Kprobes
from armprobe.traces.formats import save
from tests.browsers.devtools import Browser

pytestmark = pytest.mark.sample(of="files")

_LOOK: Final = Path(__file__).with_name("page_look.js").read_text()
_READABLE: Final = 4.5
"""The least contrast of a text and what is behind it (WCAG 2.2, 1.4.3)."""
_SEEN: Final = 3.0
"""The least contrast of a graphical object (1.4.11)."""

Box = dict[str, Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with Browser(path, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(kprobes: Kprobes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "hits.html"
    save(kprobes, path)
    return path


@pytest.fixture(params=itertools.product((1280, 390), ("light", "dark")), ids="{0[0]}-{0[1]}".format)
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Browser:
    """The page, wide or narrow."""
    width, scheme = request.param
    browser.open(report.as_uri(), width, scheme, _LOOK)
    return browser


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, terms)."""
    if colour.startswith("#"):
        parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [int(each) for each in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _overlap(one: Box, other: Box) -> bool:
    """Whether they share more than a pixel's width and height."""
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return bool(across > 1 and down > 1)


def _clipped(rect: Box, clip: Box | None) -> Box:
    if clip is None:
        return rect
    return {side: (max if side in ("left", "top") else min)(rect[side], clip[side]) for side in rect}


def _overlapping(texts: list[list[Box]]) -> list[tuple[Box, Box]]:
    """Parts of different texts."""
    return [
        (one, other)
        for text, another in itertools.combinations(texts, 2)
        for one, other in itertools.product(text, another)
        if _overlap(one, other)
    ]


def test_every_text_can_be_read(page: Browser) -> None:
    """None is cut off, but where a table scrolls or a title has the whole, none is above another, all have contrast."""
    width = page.run("innerWidth")
    texts: list[Box] = page.run("textsOfPage()")
    assert len(texts) > 100
    assert page.run("document.documentElement.scrollWidth") <= width
    for each in texts:
        whole = each["clip"] is None or all(
            each["clip"]["left"] - 1 <= rect["left"] and rect["right"] <= each["clip"]["right"] + 1
            for rect in each["rects"]
        )
        assert whole or each["scrolls"] or (each["ellipsis"] and each["text"] in each["title"]), each
        assert _contrast(each["colour"], each["behind"]) >= _READABLE, each
    shown = [[_clipped(rect, each["clip"]) for rect in each["rects"]] for each in texts]
    assert _overlapping([[rect for rect in rects if rect["left"] < rect["right"]] for rects in shown]) == []


def test_the_timeline_can_be_read(page: Browser) -> None:
    """What is drawn on the canvas."""
    drawn: list[Box] = page.run("drawnOnCanvas")
    canvas = page.run(
        "(({width, height}) => ({width, height}))(document.querySelector('canvas').getBoundingClientRect())"
    )
    card = page.run("getComputedStyle(document.querySelector('canvas').parentElement).backgroundColor")
    texts = [each for each in drawn if each["text"]]
    bars = [each for each in drawn if not each["text"] and each["right"] - each["left"] != 1]
    assert len(texts) > 10
    assert len(bars) > 100
    for each in texts:
        assert 0 <= each["left"] < each["right"] <= canvas["width"], each
        assert 0 <= each["top"] < each["bottom"] <= canvas["height"], each
        behind = [bar["colour"] for bar in bars if _overlap(bar, each)]
        assert _contrast(each["colour"], behind[-1] if behind else card) >= _READABLE, each
    assert _overlapping([[each] for each in texts]) == []
    assert all(_contrast(colour, card) >= _SEEN for colour in {bar["colour"] for bar in bars})


def test_a_click_shows_the_registers_of_each_stage(page: Browser, report: Path) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', report.read_text())
    assert found is not None
    data = json.loads(found[1])
    chosen: set[int] = set()
    for kind in {kind for _, kind in data["probes"]}:
        wanted = next(
            place for place, hit in enumerate(data["hits"]) if place and data["probes"][hit["probe"]][1] == kind
        )
        # The bars are drawn in the order of the hits.
        page.run("document.getElementById('all').click()")
        bars = [each for each in page.run("drawnOnCanvas") if not each["text"] and each["right"] - each["left"] != 1]
        left, top = page.run(
            "(canvas => { canvas.scrollIntoView(); const at = canvas.getBoundingClientRect(); return [at.x, at.y]; })"
            "(document.querySelector('canvas'))"
        )
        bar = bars[wanted]
        page.click(left + (bar["left"] + bar["right"]) / 2, top + (bar["top"] + bar["bottom"]) / 2)
        place = int(page.run("location.hash").removeprefix("#hit="))
        hit = data["hits"][place]
        shown = page.run(
            "[...document.querySelectorAll('#registers tr')]"
            ".map(row => [...row.children].map(cell => cell.textContent))"
        )
        rows = {name: cells for name, *cells in shown}
        stages = [data["stages"][stage] for stage in hit["stages"]]
        assert rows["stage"] == [stage["stage"] for stage in stages]
        for at, name in enumerate(data["registers"]):
            assert rows[name] == [stage["words"][at] for stage in stages], name
        near = bars[place]
        assert near["left"] - 8 <= (bar["left"] + bar["right"]) / 2 <= near["right"] + 8
        assert near["top"] == bar["top"]
        chosen.add(place)
    assert len(chosen) > 1
