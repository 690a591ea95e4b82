# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of places in the history of the guest."""

from __future__ import annotations

from armprobe.commands import values

from .layout import Column, Table, described
from .text import as_text


@as_text.register
def _(value: values.When) -> str:
    reach = "" if value.live else f"; the history ends at {value.end:,}"
    place = f"{described(value.location)} ({value.location.address:#x})"
    return f"position {value.position:,}, {value.seconds:.6f} s, at {place}{reach}\n"


@as_text.register
def _(value: values.MarkRow) -> str:
    return f"mark {value.name}: position {value.position:,}\n"


@as_text.register
def _(value: values.MarkRows) -> str:
    if not value:
        return "there are no marks; mark NAME makes one\n"
    rows = [(row.name, f"{row.position:,}") for row in value]
    return Table((Column("name"), Column("position", right=True)), rows).plain()


@as_text.register
def _(value: values.LastWrite) -> str:
    by = "from outside" if value.location is None else f"by {described(value.location)} ({value.location.address:#x})"
    what = f"{value.value:#x}, {value.size} bytes at {value.address:#x}"
    return f"{what}, written {by} at position {value.position:,}; goto {value.position} goes there\n"


@as_text.register
def _(value: values.NeverWritten) -> str:
    return f"nothing has written to {value.size} bytes at {value.address:#x} since position {value.start:,}\n"
