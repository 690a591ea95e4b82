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
    text = f"{what}, written {by} at position {value.position:,}; goto {value.position} goes there\n"
    return text + _stack(value)


@as_text.register
def _(value: values.LastChange) -> str:
    by = "from outside" if value.location is None else f"by {described(value.location)} ({value.location.address:#x})"
    text = f"{value.register} changed from {value.before:#x} to {value.value:#x} {by} at position {value.position:,}"
    return f"{text}; goto {value.position} goes there\n{_stack(value)}"


@as_text.register
def _(value: values.NeverChanged) -> str:
    return f"{value.register} has not changed since position {value.start:,}\n"


def _stack(value: values.LastWrite | values.LastChange) -> str:
    lines = [
        f"#{frame.number:<3} {frame.location.address:#018x} {described(frame.location, sized=True)}\n"
        for frame in value.frames
    ]
    return "".join(lines) + (f"No further: {value.end}\n" if value.end else "")


@as_text.register
def _(value: values.PastCalls) -> str:
    failed = f"The condition could not be evaluated at {value.failed:,} calls: {value.why}\n" if value.failed else ""
    if not value.rows:
        reach = f"from position {value.start:,} to {value.end:,}"
        return f"{failed}no such call of {value.function} in the history, {reach}\n"
    columns = (
        Column("position", right=True),
        Column("time", right=True),
        Column("task"),
        Column("arguments"),
        Column("result"),
        Column("caller"),
    )
    rows = [
        (
            f"{row.position:,}",
            f"{row.seconds:.6f}",
            "" if row.comm is None else f"{row.comm}-{row.pid}",
            " ".join(f"{each.name}={each.text}" for each in row.arguments),
            "not returned" if row.result is None else row.result_text,
            described(row.caller),
        )
        for row in value.rows
    ]
    shown = len(value.rows)
    more = f"the last {shown:,} of {value.found:,} calls; most=N shows more\n" if shown < value.found else ""
    return failed + Table(columns, rows).plain() + more


@as_text.register
def _(value: values.NeverWritten) -> str:
    return f"nothing has written to {value.size} bytes at {value.address:#x} since position {value.start:,}\n"
