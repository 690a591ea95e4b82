# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's 6.1 kernel accepted, answered and printed for filters and triggers of kprobe events.

`kprobe_events_values_v61.json.xz` says in `how` how it was asked.
"""

from __future__ import annotations

import functools
import json
import lzma
import re
from pathlib import Path
from typing import Any, NamedTuple

RECORD = Path(__file__).parent / "kprobe_events_values_v61.json.xz"


class Field(NamedTuple):
    """A line of an event's format file."""

    name: str
    type: str
    size: int
    signed: bool


@functools.cache
def record_of(what: str) -> Any:
    """A part of the record."""
    with lzma.open(RECORD) as file:
        return json.load(file)[what]


def answers(what: str) -> list[dict[str, Any]]:
    """The cases `filters`, `histograms` or `values`."""
    return list(record_of(what))


def fields(case: dict[str, Any]) -> list[Field]:
    """The fields of the first event of a case."""
    return [field(line) for line in next(iter(case["format"].values()))["fields"]]


def field(line: str) -> Field:
    """The field of a line of the format file, such as "field:u32 arr[];\toffset:33;\tsize:8;\tsigned:0;"."""
    match = re.match(r"field:(.*?)(\w+)((?:\[\d*\])*);\s*offset:\d+;\s*size:(\d+);\s*signed:(\d);", line)
    assert match, line
    kind, name, array, size, signed = match.groups()
    return Field(name, kind.strip() + array, int(size), signed == "1")
