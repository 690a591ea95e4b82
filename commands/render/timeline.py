# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of places in the history of the guest."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values

from .layout import Column, Table, described
from .text import as_text, stack_text


@as_text.register(values.When)
def _(value: values.When) -> str:
    reach = "" if value.live else f"; the history ends at {value.end:,}"
    branch = "" if value.branch is None else f" in {value.branch}"
    return f"position {value.position:,}{branch}, {value.seconds:.6f} s, at {_place(value.location)}{reach}\n"


@as_text.register(values.BranchRows)
def _(value: values.BranchRows) -> str:
    columns = Column(""), Column("name"), Column("begins at", right=True), Column("of"), Column("ends at", right=True)
    rows = [("*" * row.current, row.name, f"{row.fork:,}", row.parent or "", f"{row.end:,}") for row in value]
    return Table(columns, rows).plain()


@as_text.register(values.MarkRow)
def _(value: values.MarkRow) -> str:
    return f"mark {value.name}: position {value.position:,}\n"


@as_text.register(values.MarkRows)
def _(value: values.MarkRows) -> str:
    if not value:
        return "there are no marks; mark NAME makes one\n"
    rows = [(row.name, f"{row.position:,}") for row in value]
    return Table((Column("name"), Column("position", right=True)), rows).plain()


@as_text.register(values.LastWrite)
def _(value: values.LastWrite) -> str:
    return f"{value.value:#x}, {value.size} bytes at {value.address:#x}, written {_cause(value)}"


@as_text.register(values.LastChange)
def _(value: values.LastChange) -> str:
    return f"{value.register} changed from {value.before:#x} to {value.value:#x} {_cause(value)}"


@as_text.register(values.NeverChanged)
def _(value: values.NeverChanged) -> str:
    return f"{value.register} has not changed since position {value.start:,}\n"


def _cause(value: values.LastWrite | values.LastChange) -> str:
    """The instruction that did it, and the stack there."""
    by = "from outside" if value.location is None else f"by {_place(value.location)}"
    text = f"{by} at position {value.position:,}; goto {value.position} goes there\n"
    return text + stack_text(value.frames, value.end)


def _place(location: values.Location) -> str:
    return f"{described(location)} ({location.address:#x})"


@as_text.register(values.PastCalls)
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


@as_text.register(values.NeverWritten)
def _(value: values.NeverWritten) -> str:
    return f"nothing has written to {value.size} bytes at {value.address:#x} since position {value.start:,}\n"


_ROWS: Final = 40


@as_text.register(values.Difference)
def _(value: values.Difference) -> str:
    lines = [f"from position {value.first:,} to {value.second:,}:\n"]
    if value.registers:
        rows = [(each.name, f"{each.before:#x}", f"{each.after:#x}") for each in value.registers]
        lines.append(Table((Column("register"), Column("first"), Column("second")), rows).plain())
    if value.symbols:
        columns = Column("symbol"), Column("type"), Column("first"), Column("second")
        changed = [
            (each.name, each.type or f"{each.size} bytes", each.before_text, each.after_text)
            if each.before is not None
            else (each.name, each.type or f"{each.size} bytes", f"{each.changed} bytes differ", "")
            for each in value.symbols[:_ROWS]
        ]
        lines.append(Table(columns, changed).plain())
    shown = min(_ROWS, len(value.symbols))
    if shown < value.symbol_count:
        lines.append(f"the first {shown} of {value.symbol_count:,} symbols; --json has more\n")
    memory = f"{value.bytes_changed:,} bytes of memory differ, in {value.page_count:,} pages"
    first = ", ".join(f"{page:#x}" for page in value.pages[:4])
    more = ", ..." * (value.page_count > 4)
    lines.append(f"{memory}: {first}{more}\n" if value.pages else "no memory differs\n")
    return "".join(lines)
