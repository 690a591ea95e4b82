# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of breakpoints and watchpoints."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values
from armprobe.session.breakpoints import NAMES

from .layout import Column, Table, where
from .text import as_text

_COLUMNS: Final = (
    Column("num", 3, right=True),
    Column("kind", 10),
    Column("where", 36),
    Column("hits", 5, right=True),
    Column(""),
)


@as_text.register(values.BreakpointRows)
def _(value: values.BreakpointRows) -> str:
    if not value:
        return "no breakpoints; set one with: break PLACE, or watch PLACE\n"
    return Table(_COLUMNS, [_row(point) for point in value]).plain()


def _row(point: values.BreakpointRow) -> tuple[str, ...]:
    notes = [] if point.enabled else ["[DISABLED]"]
    notes += ["temporary"] if point.temporary else []
    notes += [f"{point.size} bytes"] if point.kind != "breakpoint" else []
    notes += [f"if {point.condition}"] if point.condition is not None else []
    return str(point.number), NAMES[point.kind], where(point.location), str(point.hits), " ".join(notes)


@as_text.register(values.BreakpointsChanged)
def _(value: values.BreakpointsChanged) -> str:
    if not value.breakpoints:
        return f"no breakpoints are {value.done}: there are none\n"
    return "".join(_line(value.done, point) for point in value.breakpoints)


def _line(done: str, point: values.BreakpointRow) -> str:
    kind = f"temporary {NAMES[point.kind]}" if point.temporary else NAMES[point.kind]
    if done == "set":
        size = "" if point.kind == "breakpoint" else f", {point.size} bytes"
        condition = "" if point.condition is None else f", if {point.condition}"
        return f"{kind} {point.number} at {where(point.location)}{size}{condition}\n"
    times = f": it stopped the guest {point.hits} time{'s' * (point.hits != 1)}" if done == "deleted" else ""
    return f"{kind} {point.number} ({point.given}) is {done}{times}\n"
