# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation builds as a site, which MkDocs refuses where a link or an anchor leads nowhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's, of a MkDocs to come
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.sample(of="tests")
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    # The API's page is empty where its objects are not found.
    assert 'id="armprobe.probes.Kprobes.register_kretprobe"' in (tmp_path / "docs" / "api" / "index.html").read_text()
    fetched = re.compile(r"""<(?:script|img|link)[^>]+(?:src|href)=["']?(?:https?:)?//""")
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        assert not fetched.search(text), page  # it works without a network
        assert 'class="mermaid"' not in text, page  # for which the theme would fetch Mermaid
    figures = (tmp_path / "docs" / "architecture" / "index.html").read_text().count("<img ")
    assert figures == (ROOT / "docs" / "architecture.md").read_text().count("```mermaid") == 5


def test_pictures_fetch_nothing() -> None:
    pictures = list((ROOT / "docs" / "figures").glob("*.svg"))
    assert len(pictures) >= 8
    for picture in pictures:
        assert re.findall(r"""(?:url\(|href=)["']?(?:https?:|//)""", picture.read_text()) == [], picture
