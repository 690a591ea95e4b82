# SPDX-License-Identifier: GPL-2.0-or-later
"""The files and functions that docs/architecture.md and docs/recipes.md name are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/architecture.md", "docs/recipes.md")
ROOMS = (
    "face",
    "machine",
    "kernel",
    "expressions",
    "probes",
    "traces",
    "stub",
    "session",
    "clients",
    "commands",
    "guests",
)
FILE = re.compile(rf"(?<![\w/])(?:{'|'.join(ROOMS)}|tests)/[\w/]*(?:\.(?:py|[ch])\b)?")
NAMED = re.compile(r"([\w/]+\.py) (_?[A-Z]\w*\.\w+)")


def text(document: str) -> str:
    return (ROOT / document).read_text()


@cache
def names(file: Path) -> set[str]:
    """The functions of a file, and the methods as Class.method."""
    tree = ast.parse(file.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in tree.body if isinstance(node, functions)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, functions)}
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_are_there(document: str) -> None:
    missing = {path for path in FILE.findall(text(document)) if not (ROOT / path).exists()}
    assert not missing


def test_functions_are_in_the_files_that_are_named_with_them() -> None:
    found = NAMED.findall(text("docs/architecture.md"))
    assert len(found) > 12
    assert not [f"{file} {name}" for file, name in found if name not in names(ROOT / file)]


def test_all_other_methods_that_are_named_exist_somewhere() -> None:
    rooms = ("machine", "kernel", "probes", "stub", "session", "commands")
    everywhere = {name for room in rooms for file in (ROOT / room).rglob("*.py") for name in names(file)}
    named = set(re.findall(r"\b[A-Z]\w*\.[a-z_]\w+\b(?!\.md)", text("docs/architecture.md")))
    assert len(named) > 12
    assert not {name for name in named if name not in everywhere}


def test_there_are_five_figures() -> None:
    assert text("docs/architecture.md").count("```mermaid") == 5
