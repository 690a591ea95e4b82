# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured, as a table to read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Values = Mapping[str, Sequence[float]]
"""What each measurement gave, by name, one value a repetition."""


@dataclass(frozen=True)
class Aim:
    """A bound on the median, or on its ratio to another."""

    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether `value` is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def share(self, value: float) -> float:
        """How far `value` gets: 1 at the bound, more on its right side."""
        if self.at_least:
            return max(value, 0.0) / self.bound
        return self.bound / value if value > 0 else float("inf")


@dataclass(frozen=True)
class Row:
    """One line: `what` was measured under the name `metric`, in `unit`.

    With `against`, another metric and what to call it, the ratio of the two medians is shown as well, and the aim is
    one for that ratio. `name` is for where the row stands alone, if `what` says too little there.
    """

    what: str
    metric: str
    unit: str
    aim: Aim | None = None
    against: tuple[str, str] | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What was measured, in words that need no other row."""
        return self.name or self.what

    def number(self, compared: float) -> str:
        """The ratio or median that the aim is about."""
        return f"{compared:.3g} x {self.against[1]}" if self.against else f"{_number(compared, self.unit)} {self.unit}"

    def aim_text(self) -> str:
        """The aim, "" without one."""
        if self.aim is None:
            return ""
        bound = f"{self.aim.bound:g} x" if self.against else _number(self.aim.bound, self.unit)
        return f"{'>=' if self.aim.at_least else '<='} {bound}"


def _number(value: float, unit: str) -> str:
    digits = {"/s": 0, "MiB": 0, "instructions": 0, "s": 2, "us": 2}.get(unit, 1)
    return f"{value:,.{digits}f}"


def compared(row: Row, values: Values) -> float | None:
    """What the row's aim is about: the ratio to `against`, or the median. None if it was not measured."""
    measured = values.get(row.metric, ())
    if not measured:
        return None
    median = statistics.median(measured)
    if row.against is None:
        return median
    other = values.get(row.against[0], ())
    return median / statistics.median(other) if other else None


def _cells(row: Row, values: Values) -> tuple[str, ...]:
    measured = values.get(row.metric, ())
    if not measured:
        return row.what, row.unit, row.aim_text(), "not measured", "", "", ""
    median = statistics.median(measured)
    spread = f"{_number(min(measured), row.unit)} .. {_number(max(measured), row.unit)}" if len(measured) > 1 else ""
    value = compared(row, values)
    ratio = row.number(value) if row.against and value is not None else ""
    met = ("met" if row.aim.met(value) else "NOT MET") if row.aim and value is not None else ""
    return row.what, row.unit, row.aim_text(), _number(median, row.unit), spread, ratio, met


HEADINGS = ("what", "unit", "aim", "median", "min .. max", "ratio", "")
_NUMBERS = (2, 3, 4)  # the columns that are


def table(groups: Mapping[str, Sequence[Row]], values: Values) -> str:
    """The rows under the headings of their groups, in columns."""
    lines = {title: [_cells(row, values) for row in rows] for title, rows in groups.items()}
    columns = zip(HEADINGS, *(cells for rows in lines.values() for cells in rows), strict=True)
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        return "  ".join(c.rjust(w) if i in _NUMBERS else c.ljust(w) for i, (c, w) in columns).rstrip()

    text = [line(HEADINGS)]
    for title, rows in lines.items():
        text += ["", title, *map(line, rows)]
    return "\n".join(text)
