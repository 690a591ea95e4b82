# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of hits, as their readers see them. The tasks' names are hostile ones (`recorded.NAMES`)."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from armprobe.machine import MachineError
from armprobe.probes import Kprobes
from armprobe.traces import COLUMNS, Kind, TraceError
from armprobe.traces.formats import FORMATS, save

from .recorded import NAMES


@pytest.fixture(scope="module")
def rows(kprobes: Kprobes) -> list[dict[str, Any]]:
    return list(kprobes.hits.table.records())


def test_ftrace_text(kprobes: Kprobes, tmp_path: Path) -> None:
    """A line for each hit, whatever its task is called, in the form that the kernel's documentation describes."""
    save(kprobes, tmp_path / "a.txt")
    text = (tmp_path / "a.txt").read_text()
    lines = [line for line in text.split("\n")[:-1] if not line.startswith("#")]
    hits = kprobes.hits.traced()
    assert len(lines) == len(hits) == 52 + 52 + 24 + 1
    for line, hit in zip(lines, hits, strict=True):
        found = re.fullmatch(r" *(.*)-(\d+) +\[000\] ([d.][.]{4}) +(\d+\.\d{6}): (\w+): (\(.*?\)) (.*)", line)
        assert found
        assert line.isprintable()
        assert hit.task is not None
        assert int(found[2]) == NAMES.index(hit.task.comm) + 1
        assert float(found[4]) == pytest.approx(hit.seconds, abs=1e-6)
        assert found[5] == hit.probe.name


def test_csv(kprobes: Kprobes, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    save(kprobes, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows)
    for mine, row in zip(found, rows, strict=True):
        for column in COLUMNS:
            assert _value(column.kind, mine[column.name]) == (row[column.name] if row[column.name] != "" else None)


def _value(kind: Kind, field: str) -> Any:
    if not field:
        return None
    return field if kind is Kind.TEXT else json.loads(field) if kind is Kind.FIELDS else int(field, 0)


def test_ndjson(kprobes: Kprobes, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    save(kprobes, tmp_path / "a.ndjson")
    data = (tmp_path / "a.ndjson").read_bytes()
    assert data.isascii()
    assert [json.loads(line) for line in data.splitlines()] == rows


def test_pandas_and_duckdb_read_them(kprobes: Kprobes, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The defaults of both, on all that a task can be called. They take an empty field of CSV for a missing one."""
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    names = [row["comm"] for row in rows]
    for ending, read in (".csv", pandas.read_csv), (".ndjson", lambda file: pandas.read_json(file, lines=True)):
        file = tmp_path / f"a{ending}"
        save(kprobes, file)
        frame = read(file)
        empty = "" if ending == ".ndjson" else None
        assert [name if isinstance(name, str) else None for name in frame["comm"]] == [n or empty for n in names]
        assert list(frame["position"]) == [row["position"] for row in rows]
        found = duckdb.sql(f"SELECT comm, CAST(sp AS UBIGINT), elapsed_ns FROM '{file}'").fetchall()
        assert found == [(row["comm"] or empty, row["sp"], row["elapsed_ns"]) for row in rows]


@pytest.mark.parametrize("ending", [ending for each in FORMATS for ending in each.endings])
def test_only_its_own_files_are_replaced(kprobes: Kprobes, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    save(kprobes, file)
    save(kprobes, file)
    size = file.stat().st_size
    file.write_text("my thesis\n")
    with pytest.raises(MachineError, match="say force to replace it"):
        save(kprobes, file)
    assert file.read_text() == "my thesis\n"
    save(kprobes, file, force=True)
    assert file.stat().st_size == size


def test_the_ending_says_the_format(kprobes: Kprobes, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"a\.doc has no ending that says its format: give one of \.txt, \.ftrace, "):
        save(kprobes, tmp_path / "a.doc")
    assert not list(tmp_path.iterdir())
