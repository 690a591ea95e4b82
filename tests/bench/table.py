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
    """A bound on the median."""

    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether `value` is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Row:
    """One line: `what` was measured under the name `metric`, in `unit`.

    With `against`, another metric and what to call it, the ratio of the two medians is shown as well.
    """

    what: str
    metric: str
    unit: str
    aim: Aim | None = None
    against: tuple[str, str] | None = None


def _number(value: float, unit: str) -> str:
    digits = 0 if unit in ("/s", "MiB", "instructions") else 2 if unit == "s" else 3 if unit == "share" else 1
    return f"{value:,.{digits}f}"


def _cells(row: Row, values: Values) -> tuple[str, ...]:
    measured = values.get(row.metric, ())
    if not measured:
        return row.what, row.unit, "", "not measured", "", "", ""
    median = statistics.median(measured)
    spread = f"{_number(min(measured), row.unit)} .. {_number(max(measured), row.unit)}" if len(measured) > 1 else ""
    aim = f"{'>=' if row.aim.at_least else '<='} {_number(row.aim.bound, row.unit)}" if row.aim else ""
    met = ("met" if row.aim.met(median) else "NOT MET") if row.aim else ""
    ratio = ""
    if row.against and values.get(row.against[0]):
        ratio = f"{median / statistics.median(values[row.against[0]]):.3g} x {row.against[1]}"
    return row.what, row.unit, aim, _number(median, row.unit), spread, ratio, met


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
