# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of somebody else's tool, and what it has to answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from armprobe.commands import Session
from tests.debuggers.tools.facts import Facts


class Absent(Exception):
    """The tool is not installed and cannot be fetched; the text says where it is looked for."""


@dataclass(frozen=True)
class Subject:
    """What a tool looks at: a guest that has just been resumed, and a folder for files."""

    facts: Facts
    session: Session
    folder: Path


Ask = Callable[[str], str]
"""What the tool prints for a line that is typed at it."""


@dataclass(frozen=True)
class Row:
    """A line of the table in docs/debuggers.md."""

    typed: str
    like: str
    """What the answer is compared with."""
    right: Callable[[Subject, str], None]
    """Raises AssertionError for an answer that says something else."""


@dataclass(frozen=True)
class Tool:
    """A program of other people's."""

    name: str
    version: Callable[[], str]
    """What is tried, a line for the document; it is installed if it can be. Raises `Absent`."""
    opened: Callable[[Subject], AbstractContextManager[Ask]]
    rows: tuple[Row, ...]
    """In the order in which they are typed."""
