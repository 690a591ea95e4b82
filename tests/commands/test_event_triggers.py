# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters, triggers and histograms of events by commands, on the demo kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.cli import main


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("event p:alloc kmalloc size=%x0:u64")
        yield session


def test_a_filter_selects_what_the_trace_has(session: Session) -> None:
    assert session.run("events filter alloc") == "none\n"
    assert session.run("events filter alloc size > 100 && size < 0x100") == "size > 100 && size < 0x100\n"
    session.run("events enable")
    session.run("continue instructions=300000")
    sizes = [int(found) for found in re.findall(r" size=(\d+)$", session.run("trace 1000"), re.MULTILINE)]
    assert sizes
    assert all(100 < size < 256 for size in sizes)
    (row,) = session.ask("events")
    assert (row.hits, row.optimized) == (len(sizes), True)
    session.run("events filter alloc 0")
    assert session.ask("events filter alloc").text == "none\n"


def test_a_refused_filter_and_trigger_have_the_kernels_words_and_a_caret(session: Session) -> None:
    for line, message, excerpt in (
        ("events filter alloc sze > 1", "EINVAL: Field not found", ("sze > 1", 4)),
        ("events filter alloc (size > 1", "ENOENT: Too many '('", ("(size > 1", 0)),
        ("events trigger alloc hist:keys=sze", "EINVAL: Couldn't find field", ("hist:keys=sze", 10)),
        ("events trigger alloc nothing", "EINVAL: 'nothing' is no trigger: write one of traceon", None),
        ("events hist nothing", "ENOENT: there is no event 'nothing'", None),
        (
            "events trigger alloc hist:keys=common_pid:t=common_timestamp-$t0:onmatch(a.b).took($t,size)",
            "EOPNOTSUPP: 'onmatch(a.b).took($t,size)' is an action of a histogram, and armprobe has none",
            None,
        ),
        (
            "events trigger alloc hist:keys=common_pid:t=common_timestamp:onmax($t).save(size) if size > 4",
            "EOPNOTSUPP: 'onmax($t).save(size)' is an action of a histogram",
            None,
        ),
        ("events enable synthetic/took", "ENOENT: there is no event 'synthetic/took': armprobe has no synthetic", None),
    ):
        with pytest.raises(CommandError, match=f"^{re.escape(message)}") as caught:
            session.run(line)
        assert caught.value.excerpt == excerpt
    assert session.run("events filter alloc") == "(size > 1\n^\nparse_error: Too many '('\n"


def test_a_histogram_and_a_stack(session: Session) -> None:
    assert session.run("events hist alloc").startswith("kprobes/alloc has no histogram; make one with: ")
    listed = session.run("events trigger alloc hist:keys=size.log2:sort=size")
    assert listed == "hist:keys=size.log2:vals=hitcount:sort=size.log2:size=2048 [active]\n"
    session.run("events trigger alloc stacktrace:1")
    (row,) = session.ask("events")
    assert not row.enabled  # its probe is in the guest for the triggers, which is not recording
    session.run("events enable alloc")
    session.run("continue instructions=300000")
    hist = session.run("events hist alloc")
    hits = int(hist.partition("Hits: ")[2].split()[0])
    assert hits == sum(int(line.rpartition(" ")[2]) for line in hist.splitlines() if line.startswith("{"))
    (row,) = session.ask("events")
    assert row.hits == hits
    assert "<stack trace>\n => kmalloc\n => " in session.run("trace 1000")
    session.run("events trigger alloc !stacktrace")
    assert session.run("events trigger alloc") == listed


def test_tracing_is_switched_off_and_on(session: Session) -> None:
    assert session.ask("events tracing").on
    session.run("events enable alloc")
    session.run("events trigger alloc traceoff:1")
    session.run("continue instructions=300000")
    assert session.run("events tracing") == "hits of events are not recorded, until: events tracing on\n"
    assert session.run("trace 1000").count(" alloc: ") == 1  # it is recorded before the trigger acts
    assert session.run("events tracing on") == "hits of enabled events are recorded\n"
    session.run("continue instructions=100000")
    assert session.run("trace 1000").count(" alloc: ") > 1


def test_the_text_of_the_files_is_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("event p:alloc kmalloc size=%x0:u64", "events trigger alloc hist:keys=size", "events hist alloc")
    assert main(["--json", *(word for line in lines for word in ("-c", line))]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[-1]["value"]["event"] == "kprobes/alloc"
    assert answers[-1]["value"]["file"] == "hist"
    assert answers[-1]["value"]["text"].startswith(
        "# event histogram\n#\n# trigger info: hist:keys=size:vals=hitcount:"
    )
