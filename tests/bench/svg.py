# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows that have an aim, as a plot: a bar each, as long as what was measured is of its aim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tests.bench.table import Row, Values, compared

_LABELS, _SCALE, _MOST = 430, 200, 2.0  # px of the labels, px of a bar at its aim, aims that the longest bar shows
_FIGURES = _LABELS + int(_SCALE * _MOST) + 8
_WIDTH = _FIGURES + 330
_LINE, _TOP = 22, 56

# Colours with a contrast of 3 to 1 or more to white and to GitHub's dark background; text says the same.
_STYLE = """\
text { font: 13px sans-serif; fill: #1f2328 }
.group { font-weight: bold }
.met { fill: #1f77b4 }
.missed { fill: #d1242f }
.aim { stroke: #59636e; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .met { fill: #4a9fdc }
  .missed { fill: #f0605a }
  .aim { stroke: #9198a1 }
}"""


def plot(groups: Mapping[str, Sequence[Row]], values: Values) -> str:
    """An SVG image of the rows that have an aim and were measured. It shows in light and dark."""
    parts, y = [], _TOP
    for title, rows in groups.items():
        measured = [(row, ratio) for row in rows if (ratio := compared(row, values)) is not None and row.aim]
        if not measured:
            continue
        parts.append(f'<text class="group" x="8" y="{y + 15}">{escape(title)}</text>')
        for row, ratio in measured:
            y += _LINE
            parts.append(_bar(row, ratio, y))
        y += _LINE + _LINE // 2
    middle = _LABELS + _SCALE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}">',
            "<title>armprobe's benchmarks: each bar is what was measured, as a share of its aim</title>",
            f"<style>{_STYLE}</style>",
            '<text class="group" x="8" y="20">What was measured, as a share of the aim: longer is better</text>',
            f'<text x="{middle}" y="40" text-anchor="middle">the aim</text>',
            f'<line class="aim" x1="{middle}" x2="{middle}" y1="46" y2="{y}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _bar(row: Row, measured: float, y: int) -> str:
    """The label, the bar and the figures of a row. A bar that is cut off ends in a chevron."""
    assert row.aim is not None
    share = row.aim.share(measured)
    length = round(_SCALE * min(share, _MOST), 1)
    kind = "met" if row.aim.met(measured) else "missed"
    figures = f"{row.number(measured)} (aim {row.aim_text()}){'' if kind == 'met' else ', missed'}"
    beyond = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} " if share > _MOST else ""
    return (
        f'<text x="{_LABELS - 8}" y="{y + 15}" text-anchor="end">{escape(row.label)}</text>'
        f'<rect class="{kind}" x="{_LABELS}" y="{y + 3}" width="{length}" height="{_LINE - 6}"/>'
        f'<text x="{_FIGURES}" y="{y + 15}">{beyond}{escape(figures)}</text>'
    )
