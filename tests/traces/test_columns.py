# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as columns, in memory and as a table for people."""

from __future__ import annotations

import sys

import pytest

from armprobe import machine
from armprobe.probes import Kprobes, Kretprobe
from armprobe.traces import COLUMNS, HitRing, TraceError

from .recorded import NAMES


def test_a_row_is_a_stage(kprobes: Kprobes) -> None:
    rows = list(kprobes.hits.table.records())
    for hit, row in zip(kprobes.hits, rows, strict=True):
        assert list(row) == [column.name for column in COLUMNS]
        assert (row["position"], row["probe"], row["stage"]) == (hit.instructions, hit.probe.name, hit.stage.value)
        assert row["time_ns"] == round(hit.seconds * 1e9)
        assert (row["comm"], row["pid"]) == hit.task
        assert {name: row[name] for name in hit.recorded} == hit.recorded
        assert sum(row[f"x{number}"] is None for number in range(31)) == (30 if hit.probe.name == "tree_visit" else 0)
    returned = next(row for row in rows if row["stage"] == "return" and row["probe"] == "kmalloc")
    assert returned["caller_symbol"] == kprobes.machine.symbols.describe(returned["caller"])
    visited = next(row for row in rows if row["probe"] == "tree_visit")
    assert list(visited["args"]) == ["front", "text", "bad"]
    assert visited["args"]["bad"] is None
    assert len(bytes.fromhex(visited["args"]["front"])) == 4


def test_elapsed_is_what_latency_measures() -> None:
    """An aggregation measures by itself, in C."""
    guest = machine.load("demo")
    kprobes = Kprobes(guest)
    counted = kprobes.on("kmalloc").hist("elapsed_ns")
    kprobes.register_kretprobe(Kretprobe("kmalloc"))
    guest.run(instructions=100_000)
    elapsed = [ns for ns in kprobes.hits.table.elapsed if ns is not None]
    (total,) = counted.counted()
    assert (len(elapsed), sum(elapsed)) == (total.count, total.sum)
    assert total.count > 40


def test_the_text_is_a_table(kprobes: Kprobes) -> None:
    heading, *rows, last = str(kprobes.hits).splitlines()
    assert heading.split() == ["position", "seconds", "task", "probe", "stage", "hit", "elapsed", "ns", "values"]
    assert len(rows) == 40  # so no name of a task has broken a line
    assert last == f"{len(kprobes.hits):,} stages of hits, of which the last 40 are shown"
    assert all(row.isprintable() for row in rows)
    assert len({row.index(" kfree ") for row in rows if " kfree " in row}) == 1
    assert str(HitRing()) == "no hits are recorded"


def test_arrow_and_pandas_have_the_same(kprobes: Kprobes) -> None:
    pandas = pytest.importorskip("pandas")
    table, frame = kprobes.hits.to_arrow(), kprobes.hits.to_pandas()
    assert table.num_rows == len(frame) == len(kprobes.hits)
    for column in COLUMNS:
        expected = kprobes.hits.table.columns[column.name]
        found = table[column.name].to_pylist()
        assert [dict(each) if isinstance(each, list) else each for each in found] == expected
        shown = [None if each is pandas.NA or each != each else each for each in frame[column.name]]
        assert shown == expected
    assert set(frame["comm"]) == set(NAMES)


@pytest.mark.parametrize("missing", ["pyarrow", "pandas"])
def test_a_missing_library_is_named(kprobes: Kprobes, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(TraceError) as raised:
        kprobes.hits.to_pandas()
    assert str(raised.value) == (
        f"a data frame of hits needs {missing}, which is not installed: pip install 'armprobe[data]'"
    )
