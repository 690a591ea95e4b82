# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the commands that are about a word, in their names, summaries, details and arguments, and names like a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .declaration import Command

_SAME: Final = (
    ("oops", "panic", "crash", "bug", "warning"),
    ("latency", "duration", "elapsed", "slow", "how long"),
    ("histogram", "distribution"),
    ("memory", "dump", "hexdump"),
    ("back", "undo", "reverse", "past", "rewind"),
    ("task", "process", "pid"),
    ("disassemble", "assembly", "instructions"),
    ("stack", "backtrace", "callers", "bt"),
    ("field", "struct", "member"),
    ("fault", "fail", "inject"),
    ("log", "dmesg"),
    ("export", "save"),
    ("flamegraph", "flame graph", "folded"),
    ("condition", "filter"),
    ("syscall", "system call"),
    ("list", "show"),
)
"""Words that people use for one thing."""

_NAME, _SUMMARY, _REST = 8, 3, 1


def about(commands: Iterable[Command], words: Sequence[str]) -> list[Command]:
    """The commands that have something to do with all of the words, the nearest first."""
    phrases = [" ".join(words)] if any(" ".join(words) in group for group in _SAME) else words
    scored = [(min(_score(command, phrase.lower()) for phrase in phrases), command) for command in commands]
    return [command for score, command in sorted(scored, key=lambda each: -each[0]) if score]


def _score(command: Command, word: str) -> float:
    """How much a command is about a word: one of its names tells more than its summary, and that more than the rest.
    What is said of other words for the same counts half."""
    others = {other for group in _SAME if word in group for other in group} - {word}
    return max([_single(command, word), *(_single(command, other) / 2 for other in others)])


def _single(command: Command, word: str) -> int:
    begins = re.compile(rf"(?<!\w){re.escape(word[:-1] if len(word) > 4 and word.endswith('s') else word)}").search
    names = any(begins(re.sub(r"[-_]", " ", name)) for name in (command.name, *command.aliases))
    rest = [command.details, *(f"{arg.label} {arg.help}" for arg in command.args)]
    return (
        _NAME * names + _SUMMARY * bool(begins(command.summary.lower())) + _REST * bool(begins(" ".join(rest).lower()))
    )


def nearest(names: Iterable[str], word: str) -> list[str]:
    """The names that have the letters of the word in their order, the nearest first: those with few others between."""
    between = re.compile(".*?".join(map(re.escape, word)), re.IGNORECASE) if word else None
    found = ((match, name) for name in names if between and (match := between.search(name)))
    return [name for *_, name in sorted((match.end() - match.start(), len(name), name) for match, name in found)]
