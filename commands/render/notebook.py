# SPDX-License-Identifier: GPL-2.0-or-later
"""HTML of what commands answer with, for notebooks."""

from __future__ import annotations

import html
from dataclasses import fields, is_dataclass
from typing import Any, Final, get_type_hints

from armprobe.commands import values
from armprobe.stub.visible import visible

from .text import as_text

_MOST_ROWS: Final = 1000


def as_html(value: object) -> str:
    """A table, if the value is a list of records whose fields are numbers and texts; else its text.

    A guest's texts are texts in it and no HTML."""
    if isinstance(value, tuple) and value and all(_is_flat(row) for row in value):
        return _table(value)
    return f"<pre>{html.escape(visible(as_text(value)))}</pre>"


def _is_flat(row: object) -> bool:
    return is_dataclass(row) and all(
        isinstance(getattr(row, field.name), int | float | str | None) for field in fields(row)
    )


def _table(rows: tuple[Any, ...]) -> str:
    kind = type(rows[0])
    if any(type(row) is not kind for row in rows):
        return f"<pre>{html.escape(visible(as_text(rows)))}</pre>"
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(_cell(getattr(row, name), values.HEX in _marks(hints[name])) for name in names)}</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = f"<p>and {len(rows) - _MOST_ROWS:,} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _marks(hint: Any) -> tuple[object, ...]:
    """What `Annotated` says of a type, or of one of the types of a union."""
    marks = tuple(getattr(hint, "__metadata__", ()))
    return marks + tuple(mark for part in getattr(hint, "__args__", ()) for mark in getattr(part, "__metadata__", ()))


def _cell(value: object, hexadecimal: bool) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td style="text-align: right">{f"{value:#x}" if hexadecimal else f"{value:,}"}</td>'
    return f'<td style="text-align: left">{html.escape(visible(str(value)))}</td>'
