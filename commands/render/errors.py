# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of errors."""

from __future__ import annotations

from typing import Final

from armprobe.expressions.errors import printable
from armprobe.session.errors import CommandError, Excerpt

_BEFORE: Final = 40  # characters of a refused text that are shown before the caret
_AFTER: Final = 30  # and from there on


def error_text(error: Exception) -> str:
    """The sentence of an error. For a refused text also that text, and a caret under the place that is wrong."""
    sentence = f"{error}\n"
    return sentence + _pointed(error.excerpt) if isinstance(error, CommandError) and error.excerpt else sentence


def _pointed(excerpt: Excerpt) -> str:
    """The text in one line, shortened if it is long, and the caret in another."""
    from rich.cells import cell_len

    text, column = excerpt
    start = max(0, column - _BEFORE)
    before = ("..." if start else "") + printable(text[start:column])
    after = printable(text[column : column + _AFTER]) + ("..." if len(text) > column + _AFTER else "")
    return f"  {before}{after}\n  {' ' * cell_len(before)}^\n"
