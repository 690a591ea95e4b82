# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of hits: a table of docs/traces.md."""

from __future__ import annotations

from armprobe.traces import COLUMNS, Kind

_KINDS = {
    Kind.NUMBER: "signed, 64 bits",
    Kind.WORD: "unsigned, 64 bits",
    Kind.TEXT: "text",
    Kind.FIELDS: "texts by name",
}


def table() -> list[tuple[str, ...]]:
    """The heading, and a row for each column; one for x0 to x30."""
    rows: list[tuple[str, ...]] = [("column", "type", "is")]
    for column in COLUMNS:
        if column.name in {f"x{number}" for number in range(1, 31)}:
            continue
        name = "`x0` to `x30`" if column.name == "x0" else f"`{column.name}`"
        meaning = column.meaning.replace("x0", "the register") if column.name == "x0" else column.meaning
        rows.append((name, _KINDS[column.kind], meaning))
    return rows
