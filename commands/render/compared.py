# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what commands print by the rules of several eras, side by side where it differs, for a given width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

from armprobe.commands import values

from .help import WIDTH
from .text import as_text

_LEAST: Final = 24  # characters of a column
_MOST_LINES: Final = 5000  # that are matched; the time grows with the square


@as_text.register(values.EraAnswers)
def _(value: values.EraAnswers) -> str:
    return era_answers(value, WIDTH)


def era_answers(value: values.EraAnswers, width: int) -> str:
    """The answer that most eras share, or the first one, beside each other answer, as diff -y has them: a `|` is
    between lines that differ, `<` and `>` beside one that the other side does not have."""
    groups: dict[str, list[str]] = {}
    for answer in value:
        groups.setdefault(answer.text, []).append(answer.era)
    (text, eras), *others = sorted(groups.items(), key=lambda group: -len(group[1]))
    if not others:
        return f"the same in {', '.join(eras)}:\n{text}"
    blocks = ("".join(_beside((text, eras), other, max((width - 3) // 2, _LEAST))) for other in others)
    return "\n".join(blocks)


def _beside(left: tuple[str, list[str]], right: tuple[str, list[str]], column: int) -> Iterator[str]:
    from difflib import SequenceMatcher  # a start needs none of it

    yield _row(", ".join(left[1]), " ", ", ".join(right[1]), column)
    yield f"{'-' * column}   {'-' * column}\n"
    ours, theirs = left[0].splitlines()[:_MOST_LINES], right[0].splitlines()[:_MOST_LINES]
    for kind, start, end, other_start, other_end in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for one, other in zip_longest(ours[start:end], theirs[other_start:other_end]):
            mark = " " if kind == "equal" else "<" if other is None else ">" if one is None else "|"
            yield _row(one or "", mark, other or "", column)


def _row(left: str, mark: str, right: str, column: int) -> str:
    lines = zip_longest(_wrapped(left, column), _wrapped(right, column), fillvalue="")
    return "".join(f"{one:<{column}} {mark} {other}".rstrip() + "\n" for one, other in lines)


def _wrapped(text: str, column: int) -> list[str]:
    return textwrap.wrap(text, column, replace_whitespace=False, drop_whitespace=False) or [""]
