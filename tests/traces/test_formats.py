# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of hits, as their readers see them. The tasks' names are hostile ones (`recorded.NAMES`)."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.expressions.errors import printable
from armprobe.kernel.tasks import Task
from armprobe.machine import MachineError
from armprobe.probes import Hit, Kprobe, Kprobes, Stage
from armprobe.traces import COLUMNS, HitTable, Kind, TraceError
from armprobe.traces.formats import FORMATS, Saved, chrome, flames, save

from .recorded import NAMES, one_task


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
        found = re.fullmatch(r" *(.*)-(\d+) +\[000\] ([d.][.]{4}) +(\d+\.\d{6}): (\w+): (\(.*?\))( .*|)", line)
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


def test_events_have_their_names_and_arguments(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """As the event's own trace has them, which tests/linux compares with the kernel's."""
    kprobes = _events()
    kprobes.machine.run(instructions=70_000)
    save(kprobes, tmp_path / "trace.dat")
    report = subprocess.run(
        [tool("trace-cmd", "trace-cmd"), "report", "-i", str(tmp_path / "trace.dat")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [re.sub(r" [d.]\.{4} ", " ", line, count=1) for line in kprobes.events.trace()]
    assert [line.split() for line in report.stdout.splitlines()[1:]] == [line.split() for line in lines]
    assert len(lines) == 2 * 52
    assert any(line.endswith("bad=(fault)") for line in lines)
    shown = [(row["event"], row["args"]) for row in kprobes.hits.table.records()]
    for (event, args), line in zip(shown, lines, strict=True):
        assert line.split()[3] == f"{event}:"
        if event == "alloc":
            text = "(fault)" if args["bad"] is None else f'"{args["bad"]}"'
            assert line.endswith(f" size={args['size']} flags={args['flags']} bad={text}")
        else:
            assert line.endswith(f' p={args["p"]} c="{args["c"]}"')
            assert args["c"] == "one"


def _events() -> Kprobes:
    """Two events of the demo kernel, enabled."""
    kprobes = Kprobes(machine.load("demo"))
    kprobes.task = lambda: Task("one", 7)
    kprobes.events.define(
        "p:alloc kmalloc size=%x0:u64 flags=%x1:x32 bad=+0(%x2):string\nr:ret kmalloc p=$retval c=$comm"
    )
    for name in "alloc", "ret":
        kprobes.events.enable(name)
    return kprobes


def test_perf_script_prints_the_lines_of_our_own(
    kprobes: Kprobes, tool: Callable[[str, str], str], tmp_path: Path
) -> None:
    """Of probes, and of events with their arguments, of which some hits are lost; perf report counts them by task."""
    perf = tool("perf", "linux-perf")
    with_events = _events()
    with_events.kept = 100
    with_events.machine.run(instructions=70_000)
    for recorded in kprobes, with_events:
        assert _perf(perf, "script", recorded, tmp_path) == (tmp_path / "a.perf").read_text().splitlines()
    assert re.fullmatch(
        r" +one +7 \[000\] +\d\.\d{6}: kprobes:alloc: \(ffff800000083c50\) size=\d+ flags=0xcc0 bad=.*",
        (tmp_path / "a.perf").read_text().splitlines()[0],
    )
    lost, *_ = _perf(perf, "script", with_events, tmp_path, "--show-lost-events")
    assert lost.endswith(f"PERF_RECORD_LOST lost {with_events.lost}")
    counted = _perf(perf, "report", kprobes, tmp_path, "--stdio", "-n", "--sort", "comm", "-F", "sample,comm")
    names = Counter(printable(hit.task.comm) for hit in kprobes.hits.traced() if hit.task is not None)
    shown: Counter[str] = Counter()
    for line in counted:
        if found := re.match(r" +(\d+) (.*)", line):
            shown[found[2].strip()] += int(found[1])
    assert shown == names


def _perf(perf: str, verb: str, kprobes: Kprobes, folder: Path, *options: str) -> list[str]:
    """What a verb of perf prints of the file of hits, which are also in a.perf."""
    for name in "perf.data", "a.perf":
        save(kprobes, folder / name, force=True)
    command = [perf, verb, *options, "-f", "-i", str(folder / "perf.data")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


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


def test_chrome_json(kprobes: Kprobes, tmp_path: Path) -> None:
    """By the phases of the Trace Event Format's document: M, X, i and C, with the fields that each must have."""
    save(kprobes, tmp_path / "a.json")
    data = (tmp_path / "a.json").read_bytes()
    assert data.isascii()
    found = json.loads(data)["traceEvents"]
    required = {
        "M": {"name", "ph", "pid", "tid", "args"},
        "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
        "i": {"name", "cat", "ph", "ts", "s", "pid", "tid", "args"},
        "C": {"name", "ph", "ts", "pid", "args"},
    }
    assert all(each.keys() == required[each["ph"]] for each in found)
    threads = {each["tid"]: each["args"]["name"] for each in found if each["name"] == "thread_name"}
    assert threads == dict(enumerate(NAMES, 1))
    hits = kprobes.hits.traced()
    shown = sorted((each for each in found if each["ph"] in "Xi"), key=lambda each: int(each["args"]["position"]))
    for each, hit in zip(shown, hits, strict=True):
        assert each["name"] == hit.probe.name
        assert each["args"].get("note", "") == hit.note
        end = each["ts"] + each.get("dur", 0)
        assert round(end * 1000) == round(hit.seconds * 1e9)
    last = {each["name"]: each["args"]["hits"] for each in found if each["ph"] == "C"}
    assert last == dict((("kmalloc", 52), ("kfree", 52), ("tree_visit", 24), ("tree_round", 1)))


def test_calls_are_nested(tmp_path: Path) -> None:
    """In one task, the calls inside tree_round are its own, in the profiles of speedscope and in the folded stacks."""
    kprobes = one_task()
    save(kprobes, tmp_path / "a.speedscope.json")
    whole = json.loads((tmp_path / "a.speedscope.json").read_text())
    frames = [frame["name"] for frame in whole["shared"]["frames"]]
    hits, calls = whole["profiles"]
    assert (hits["type"], calls["type"], calls["unit"]) == ("sampled", "evented", "nanoseconds")
    assert sum(hits["weights"]) == hits["endValue"] == len(kprobes.hits.traced())
    expected = [hit for hit in kprobes.hits if hit.probe.kind == "kretprobe"]
    depth: list[str] = []
    for event, hit in zip(calls["events"], expected, strict=True):
        assert frames[event["frame"]] == hit.probe.name
        assert event["at"] == round(hit.seconds * 1e9)
        if event["type"] == "O":
            depth.append(hit.probe.name)
        else:
            assert depth.pop() == hit.probe.name
        assert depth in ([], ["kmalloc"], ["tree_round"], ["tree_round", "kmalloc"])
    save(kprobes, tmp_path / "a.folded")
    folded = dict(line.rsplit(" ", 1) for line in (tmp_path / "a.folded").read_text().splitlines())
    inside = sum(depth == 2 for depth in _depths(expected))
    assert int(folded["task:1 x;tree_round;kmalloc"]) == inside > 10
    assert folded["task:1 x;workload_round;tree_round"] == "1"
    stacks = {";".join(frames[frame] for frame in sample) for sample in hits["samples"]}
    assert stacks == {line.replace("task:1", "task;1") for line in folded}


def _depths(hits: list[Hit]) -> list[int]:
    """How many calls are open after each entry, 0 for a return."""
    depth, found = 0, []
    for hit in hits:
        depth += 1 if hit.stage is Stage.ENTRY else -1
        found.append(depth if hit.stage is Stage.ENTRY else 0)
    return found


def test_a_call_without_an_end(tmp_path: Path) -> None:
    """The ring has lost its entry, or the run has ended inside it: the profile is nested all the same."""
    kprobes = one_task()
    hits = list(kprobes.hits)
    first = next(place for place, hit in enumerate(hits) if hit.probe.name == "tree_round")
    for part in hits[first + 1 :], hits[: first + 2]:
        table = HitTable(part, kprobes)
        for how, name in (flames.write_speedscope, "speedscope"), (chrome.write, "chrome"):
            with open(tmp_path / name, "wb") as file:
                how(Saved(kprobes, table, 5), file)
        profile = json.loads((tmp_path / "speedscope").read_text())["profiles"][1]
        opened: list[int] = []
        for event in profile["events"]:
            opened.append(event["frame"]) if event["type"] == "O" else opened.remove(event["frame"])
        assert opened == []
        events = json.loads((tmp_path / "chrome").read_text())["traceEvents"]
        instants = [event["name"] for event in events if event["ph"] == "i" and event["cat"] == "kretprobe"]
        assert instants == (["tree_round"] if part[0] is not hits[0] else [])


@pytest.mark.parametrize("ending", [ending for each in FORMATS for ending in each.endings])
def test_no_name_of_a_task_is_more_than_a_name(kprobes: Kprobes, ending: str, tmp_path: Path) -> None:
    """In no file of text it is a control character, or begins a line."""
    save(kprobes, tmp_path / f"a{ending}")
    data = (tmp_path / f"a{ending}").read_bytes()
    if ending not in (
        ".dat",
        ".data",
        ".parquet",
        ".pftrace",
        ".csv",
    ):  # those have it as it is, in fields of their own
        assert not [line for line in data.decode().split("\n") if line and not line.replace("\t", "").isprintable()]


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
