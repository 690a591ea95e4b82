# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of states of the whole guest."""

from __future__ import annotations

import shlex

from armprobe.commands import values

from .layout import Column, Table, described
from .text import as_text


@as_text.register
def _(value: values.SnapshotRows) -> str:
    if not value:
        return "there are no snapshots; snapshot NAME takes one\n"
    columns = (
        Column("name"),
        Column("instructions", right=True),
        Column("seconds", right=True),
        Column("place"),
    )
    rows = [(row.name, f"{row.instructions:,}", f"{row.seconds:.6f}", described(row.location)) for row in value]
    return Table(columns, rows).plain()


@as_text.register
def _(value: values.SnapshotTaken) -> str:
    row = value.snapshot
    instead = ", instead of an older one" if value.replaced else ""
    return f"snapshot {row.name}: {_when(row)}{instead}\n"


@as_text.register
def _(value: values.PutBack) -> str:
    return f"back at {value.state}: {_when(value)}\n"


def _when(value: values.SnapshotRow | values.PutBack) -> str:
    return f"{described(value.location)}, after {value.instructions:,} instructions, {value.seconds:.6f} s"


@as_text.register
def _(value: values.Saved) -> str:
    name = f"./{value.file}" if value.file.startswith("-") else value.file
    # A name that cannot be shown as it is comes in quotes already.
    name = name if name.startswith("'") else shlex.quote(name)
    return f"saved; armprobe --snapshot {name} goes on from here\n"
