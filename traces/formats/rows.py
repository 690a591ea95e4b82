# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as rows of text: CSV (RFC 4180) and NDJSON (a JSON object a line)."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, BinaryIO, Final

from armprobe.traces.columns import COLUMNS, Kind

from .saved import Saved

CSV_BEGINNING: Final = ",".join(column.name for column in COLUMNS).encode() + b"\n"
NDJSON_BEGINNING: Final = f'{{"{COLUMNS[0].name}": '.encode()


def write_csv(saved: Saved, file: BinaryIO) -> None:
    """Write a line for each stage under a line of names.

    What people read in hexadecimal is in hexadecimal: readers take a column of decimal numbers with gaps for floats.
    None is an empty field, and `args` a JSON object.
    """
    text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(column.name for column in COLUMNS)
    for row in saved.table.rows:
        lines.writerow(_field(column.kind, value) for column, value in zip(COLUMNS, row, strict=True))
    text.detach()


def _field(kind: Kind, value: Any) -> Any:
    if value is not None and kind is Kind.WORD:
        return f"{value:#x}"
    return json.dumps(value) if kind is Kind.FIELDS else value


def write_ndjson(saved: Saved, file: BinaryIO) -> None:
    """Write an object for each stage, in ASCII. Numbers are exact, and have up to 64 bits."""
    for record in saved.table.records():
        file.write(json.dumps(record).encode() + b"\n")
