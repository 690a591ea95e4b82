# SPDX-License-Identifier: GPL-2.0-or-later
"""The table and the plot of figures that are known."""

from xml.etree import ElementTree

from tests.bench.rows import GROUPS
from tests.bench.svg import plot
from tests.bench.table import Aim, Row, table

_GROUPS = {
    "group": (
        Row("calls", "calls", "/s"),
        Row("hits", "hits", "/s", Aim(0.5), ("calls", "calls")),
        Row("a <boot>", "boot", "s", Aim(2.0, at_least=False)),
        Row("many", "many", "/s", Aim(10)),
        Row("absent", "absent", "/s", Aim(10)),
    )
}
_VALUES = {"calls": [90.0, 100.0, 110.0], "hits": [25.0], "boot": [1.0, 1.2], "many": [1000.0]}


def test_table_compares_ratios_and_medians_with_aims() -> None:
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in table(_GROUPS, _VALUES).splitlines()}
    assert rows["calls"] == "calls /s 100 90 .. 110"
    assert rows["hits"] == "hits /s >= 0.5 x 25 0.25 x calls NOT MET"
    assert rows["a <boot>"] == "a <boot> s <= 2.00 1.10 1.00 .. 1.20 met"
    assert rows["absent"] == "absent /s >= 10 not measured"


def test_plot_has_a_bar_as_long_as_its_share_of_the_aim() -> None:
    image = ElementTree.fromstring(plot(_GROUPS, _VALUES))
    name = "{http://www.w3.org/2000/svg}"
    bars = [(bar.get("class"), float(bar.get("width", ""))) for bar in image.iter(f"{name}rect")]
    # The aim is at 200, the end of the scale at 400: half of the aim, 2 / 1.1 of it, and a hundred times.
    assert bars == [("missed", 100.0), ("met", 363.6), ("met", 400.0)]
    texts = [text.text for text in image.iter(f"{name}text")]
    assert "a <boot>" in texts
    assert "0.25 x calls (aim >= 0.5 x), missed" in texts
    assert "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} 1,000 /s (aim >= 10)" in texts


def test_ratios_are_to_rows_that_are_shown() -> None:
    compared = [row.against[0] for rows in GROUPS.values() for row in rows if row.against]
    shown = {row.metric for rows in GROUPS.values() for row in rows}
    assert set(compared) <= shown
