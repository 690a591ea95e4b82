# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of hits, as their readers see them. The tasks' names are hostile ones (`recorded.NAMES`)."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import MachineError
from armprobe.probes import Kprobe, Kprobes
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


def test_trace_cmd_reports_the_lines_of_trace(
    kprobes: Kprobes, tool: Callable[[str, str], str], tmp_path: Path
) -> None:
    """But for the flags, which it does not print, and blanks. It has no name for a task whose name is empty."""
    trace_cmd = tool("trace-cmd", "trace-cmd")
    save(kprobes, tmp_path / "a.txt")
    save(kprobes, tmp_path / "trace.dat")
    report = subprocess.run(
        [trace_cmd, "report", "-i", tmp_path / "trace.dat"], capture_output=True, text=True, check=True
    )
    assert report.stderr == ""
    first, *lines = report.stdout.splitlines()
    assert first == "cpus=1"
    text = (tmp_path / "a.txt").read_text().splitlines()
    expected = [re.sub(r" [d.]\.{4} ", " ", line, count=1) for line in text if not line.startswith("#")]
    expected = [re.sub(r"^ +-8 ", "<...>-8 ", line) for line in expected]
    assert [line.split() for line in lines] == [line.split() for line in expected]
    filtered = subprocess.run(
        [trace_cmd, "report", "-F", "kfree:x0 == 0xffff800000205160", "-i", tmp_path / "trace.dat"],
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = [hit for hit in kprobes.hits.traced() if hit.probe.name == "kfree" and hit.words[0] == 0xFFFF800000205160]
    assert len(filtered.stdout.splitlines()) == 1 + len(wanted) > 1


def test_trace_cmd_reports_what_is_lost(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """The hits take several pages, and the gap between two of them more than 27 bits of ns."""
    trace_cmd = tool("trace-cmd", "trace-cmd")
    guest = machine.load("demo")
    kprobes = Kprobes(guest)
    kprobes.kept = 300
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    guest.run(instructions=300_000)
    kprobes.disable(probe)
    guest.run(instructions=20_000_000)
    kprobes.enable(probe)
    guest.run(until="kfree")
    guest.step(2)
    save(kprobes, tmp_path / "trace.dat")
    command = [trace_cmd, "report", "-t", "-i", str(tmp_path / "trace.dat")]
    _, lost, *lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lost == f"CPU:0 [{kprobes.lost} EVENTS DROPPED]"
    times = [round(float(line.split()[2].rstrip(":")) * 1e9) for line in lines]
    assert times == [hit.ticks * 16 for hit in kprobes.hits.traced()]
    assert times[-1] - times[-2] > 1 << 27


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
