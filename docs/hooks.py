# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks of the site: its pages are in the same places as in the repository, so that their links are right in both.

Figures in Mermaid's language, which GitHub draws, are pictures here that `make figures` has drawn: the theme would
fetch Mermaid from another site.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "guests/demo/README.md",
)
FIGURES = _ROOT / "docs" / "figures"
_FIGURE = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of docs/ as those of the folder docs, and the pages outside it; those of the theme stay."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    ours = [
        f"docs/{file.src_uri}"
        for file in files
        if file.src_dir == config.docs_dir and file.inclusion.is_included()  # type: ignore[no-untyped-call]
    ]
    return Files(
        [*theirs, *(File.generated(config, path, abs_src_path=str(_ROOT / path)) for path in (*ours, *_OUTSIDE))]
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file or folder of the repository that is no page becomes its text, and a figure a picture."""
    folder = posixpath.dirname(page.file.src_uri)

    def drawn(figure: re.Match[str]) -> str:
        name = figure_name(figure[1])
        if not (FIGURES / name).exists():
            raise PluginError(f"{page.file.src_uri} has a figure that is not drawn: make figures")
        return f"![{figure[1].split()[0]}]({posixpath.relpath(f'docs/figures/{name}', folder)}){{ .figure }}"

    def kept(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        source = not path.startswith("..") and files.get_file_from_path(path) is None and (_ROOT / path).exists()
        return link[1] if source else link[0]

    return _FIGURE.sub(drawn, _LINK.sub(kept, markdown))


def figure_name(text: str) -> str:
    """The file of a figure, by its text: a figure that has changed has to be drawn again."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.svg"
