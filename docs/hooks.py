# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks of the site: its pages are in the same places as in the repository, so that their links are right in both."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "guests/demo/README.md",
)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of docs/ as those of the folder docs, and the pages outside it; those of the theme stay."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    ours = [
        f"docs/{file.src_uri}" for file in files if file.src_dir == config.docs_dir and file.inclusion.is_included()
    ]
    return Files(
        [*theirs, *(File.generated(config, path, abs_src_path=str(_ROOT / path)) for path in (*ours, *_OUTSIDE))]
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file or folder of the repository that is no page becomes its text."""
    folder = posixpath.dirname(page.file.src_uri)

    def kept(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        source = not path.startswith("..") and files.get_file_from_path(path) is None and (_ROOT / path).exists()
        return link[1] if source else link[0]

    return _LINK.sub(kept, markdown)
