# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws the figures of the documentation, Mermaid's language, as SVG files for the site: `make figures`.

The site then needs no network and no script. It takes npm, which fetches Mermaid, and chromium, which runs it.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from docs.hooks import FIGURES, figure_name

ROOT = Path(__file__).parents[2]
MERMAID = "mermaid@11"
_FENCE = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
_PAGE = """<!doctype html><meta charset="utf-8"><pre id="figure"></pre><script src="mermaid.min.js"></script><script>
mermaid.initialize({{startOnLoad: false, theme: "neutral", htmlLabels: false, flowchart: {{htmlLabels: false}},
  fontFamily: "sans-serif", deterministicIds: true}});
mermaid.render("drawn", {text}).then(({{svg}}) => {{ document.getElementById("figure").textContent = svg; }});
</script>"""


def sources() -> list[str]:
    """The figures' texts, of all documents."""
    documents = sorted((ROOT / "docs").rglob("*.md"))
    return [text for document in documents for text in _FENCE.findall(document.read_text())]


def draw(text: str, folder: Path) -> str:
    """The figure as SVG, by a page in `folder`, which has mermaid.min.js."""
    page = folder / "page.html"
    page.write_text(_PAGE.format(text=json.dumps(text)))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    dom = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120).stdout
    drawn = re.search(r'<pre id="figure">(.+?)</pre>', dom, re.DOTALL)
    if drawn is None:
        raise SystemExit(f"Mermaid has not drawn this figure:\n{text}")
    return html.unescape(drawn[1]) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(folder.glob("mermaid-*.tgz"))) as package:
            script = package.extractfile("package/dist/mermaid.min.js")
            assert script is not None
            (folder / "mermaid.min.js").write_bytes(script.read())
        wanted = {figure_name(text): text for text in sources()}
        FIGURES.mkdir(exist_ok=True)
        for old in FIGURES.glob("*.svg"):
            if "-" not in old.name and old.name not in wanted:
                old.unlink()
        for file, text in wanted.items():
            (FIGURES / file).write_text(draw(text, folder))
            print(f"docs/figures/{file}")


if __name__ == "__main__":
    main()
