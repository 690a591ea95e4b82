# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of hits: it has them all, loads nothing, and shows hostile names as text. A browser says what it shows."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from armprobe.probes import Kprobes
from armprobe.traces import HitTable
from armprobe.traces.formats import Saved, report, save

from .recorded import one_task


class _Page(HTMLParser):
    """The elements of a page, with the text in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)


def data_of(file: Path) -> Any:
    return json.loads(_Page(file.read_text()).scripts[0])


def test_it_has_the_hits(kprobes: Kprobes, tmp_path: Path) -> None:
    save(kprobes, tmp_path / "a.html")
    data = data_of(tmp_path / "a.html")
    assert len(data["stages"]) == len(kprobes.hits)
    for stage, hit in zip(data["stages"], kprobes.hits, strict=True):
        assert stage["stage"] == hit.stage.value
        assert {name: int(word, 0) for name, word in zip(data["registers"], stage["words"], strict=True) if word} == (
            hit.recorded
        )
    assert len(data["hits"]) == len(kprobes.hits.traced())
    for hit in data["hits"]:
        stages = [kprobes.hits[number] for number in hit["stages"]]
        assert {(stage.probe.name, stage.number) for stage in stages} == {
            (data["probes"][hit["probe"]][0], hit["number"])
        }
    assert sum(count for _, count in data["stacks"]) == len(data["hits"])


def test_a_name_is_text(kprobes: Kprobes, tmp_path: Path) -> None:
    """Names end no element and bring none: the elements are those of a page without hits."""
    save(kprobes, tmp_path / "a.html")
    with open(tmp_path / "b.html", "wb") as file:
        report.write(Saved(kprobes, HitTable(()), 0), file)
    full, empty = (_Page((tmp_path / name).read_text()) for name in ("a.html", "b.html"))
    assert full.elements == empty.elements
    assert any("</script><b>" in task for task in data_of(tmp_path / "a.html")["tasks"])
    page = (tmp_path / "a.html").read_text().replace("\n", "")
    assert page.isprintable()


def test_it_loads_nothing_and_runs_one_script(kprobes: Kprobes, tmp_path: Path) -> None:
    save(kprobes, tmp_path / "a.html")
    page = _Page((tmp_path / "a.html").read_text())
    attributes = {name for _, attributes in page.elements for name in attributes}
    assert not attributes & {"src", "href", "srcset", "action", "onclick", "onload", "style"}
    assert not re.search(r"https?:|url\(|@import|innerHTML|eval|document\.write", (tmp_path / "a.html").read_text())
    (policy,) = [str(found["content"]) for _, found in page.elements if "http-equiv" in found]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_a_long_recording_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_STAGES", 50)
    kprobes = one_task()
    save(kprobes, tmp_path / "a.html")
    data = data_of(tmp_path / "a.html")
    assert (len(data["stages"]), data["before"]) == (50, len(kprobes.hits) - 50)


def test_a_browser_shows_it(kprobes: Kprobes, tmp_path: Path) -> None:
    """The page as its script has made it, with a hit chosen by the address."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    save(kprobes, tmp_path / "a.html")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    page = f"file://{tmp_path}/a.html#hit=3"
    done = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, check=True)
    text = [html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", done.stdout)]
    data = data_of(tmp_path / "a.html")
    hit = data["hits"][3]
    for stage in hit["stages"]:
        assert data["stages"][stage]["stage"] in text
        assert set(filter(None, data["stages"][stage]["words"])) <= set(text)
    assert "<b>" not in done.stdout.partition("<script")[0]
    assert "&lt;/script&gt;&lt;b&gt;-5" in done.stdout
