# SPDX-License-Identifier: GPL-2.0-or-later
"""Events by commands, on the demo kernel, whose code says what the values are (guests/demo)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.cli import main
from armprobe.stub import serve
from tests.commands.test_authority import monitor  # tests have no import name to go by
from tests.stub.client import Client


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def test_from_definition_to_trace(session: Session) -> None:
    """The hits of an event are in the trace, with its arguments, among those of probes."""
    session.run("trace size 262144")
    session.run("kprobe kfree")
    assert session.run("event p:len strlen text=+0(%x0):string first=+0(%x0):u8 missing=+0(\\8):u8").startswith(
        "defined: "
    )
    session.run("event r8:grp/back strlen n=$retval:u64")
    session.run("continue instructions=100000")
    assert "len:" not in session.run("trace 100000")  # it was not enabled
    assert session.run("events enable") != ""
    session.run("continue instructions=3000000")
    lines = session.run("trace 100000").splitlines()
    assert any("kfree:" in line for line in lines)
    entries = [found for line in lines if (found := re.search(r' len: .* text="(.*)" first=(\d+) missing=', line))]
    returns = [int(found[1]) for line in lines if (found := re.search(r" back: \(.* <- strlen\) n=(\d+)$", line))]
    assert len(returns) >= 5
    for entry, length in zip(entries, returns, strict=False):
        assert len(entry[1]) == length
        assert int(entry[2]) == ord(entry[1][0])
    assert "missing=(fault)" in entries[0].string
    rows = session.ask("events")
    assert [(row.event, row.enabled, row.pending) for row in rows] == [
        ("kprobes/len", True, False),
        ("grp/back", True, False),
    ]
    assert all(row.hits >= len(returns) for row in rows)
    assert rows[0].definition in session.run("events")


def test_events_are_chosen_as_by_set_event(session: Session) -> None:
    """And by the files of folders (ftrace_set_clr_event() and event_create_dir() of kernel/trace/trace_events.c)."""
    for line in "p:grp/a strlen", "p:grp/b kfree", "r:other/a kmalloc", "p:other/c kmalloc":
        session.run(f"event {line}")
    group, everything = ["grp/a", "grp/b"], ["grp/a", "grp/b", "other/a", "other/c"]
    for names, expected in (
        ("grp", group),
        ("grp:", group),
        ("grp:*", group),
        ("grp/", group),
        ("events/grp/enable", group),
        ("/sys/kernel/debug/tracing/events/grp/enable", group),
        ("*:a", ["grp/a", "other/a"]),
        (":a", ["grp/a", "other/a"]),
        ("events/other/c/enable", ["other/c"]),
        ("c grp/b", ["grp/b", "other/c"]),
        ("o*/[ab]", ["other/a"]),
        ("*:*", everything),
        ("events/enable", everything),
    ):
        session.run(f"events enable {names}")
        assert [row.event for row in session.ask("events") if row.enabled] == expected, names
        session.run(f"events disable {names}")
        assert not any(row.enabled for row in session.ask("events")), names
    for names, message in (
        ("grp/c", "ENOENT: there is no event 'grp/c'"),
        ("x*", "ENOENT: there is no event 'x*'"),
        ("''", "ENOENT: there is no event ''"),
        ("c a", "EINVAL: several groups have an event 'a': choose one of grp/a, other/a"),
    ):
        with pytest.raises(CommandError, match=re.escape(message)):
            session.run(f"events enable {names}")
        assert not any(row.enabled for row in session.ask("events")), names


def test_what_echo_writes(session: Session) -> None:
    """tests/linux/test_kernel_event_files.py compares it with the kernel."""
    assert session.run("echo 1 2") == "1 2\n"
    assert session.run("echo 'p:a strlen' > /sys/kernel/tracing/kprobe_events") == "defined: p:kprobes/a strlen\n"
    assert session.run("echo 1 > events/kprobes/a/enable") == "enabled: p:kprobes/a strlen\n"
    assert session.run("echo 0 >tracing_on").startswith("hits of events are not recorded")
    for line, message in (
        ("echo 'p:b kfree' > kprobe_events", "EBUSY: kprobes/a is enabled"),
        ("echo 2 > tracing_on", "tracing_on takes 0 or 1, and not '2'"),
        ("echo yes >> events/kprobes/enable", "events/kprobes/enable takes 0 or 1"),
        ("echo 'a > 1' > events/kprobes/filter", "events/kprobes/filter is of more than one event"),
        ("echo 'took u64 ns; char comm[]' > synthetic_events", "armprobe has no synthetic events"),
        ("echo function > current_tracer", "echo writes to no file 'current_tracer', only to those of tracefs"),
        ("echo 'p:b kfree %x99' >> kprobe_events", "EINVAL: Invalid register name"),
        ("echo nothing > events/kprobes/a/trigger", "EINVAL: 'nothing' is no trigger"),
    ):
        with pytest.raises(CommandError, match=re.escape(message)):
            session.run(line)
    assert session.kprobes.events.list() == ["p:kprobes/a strlen"]


def test_refusals(session: Session) -> None:
    """The kernel's words, with the caret."""
    with pytest.raises(CommandError, match=r"^EINVAL: Invalid register name, at '%foo'$") as caught:
        session.run("event p:ev   strlen a=%x0   b=%foo")
    assert caught.value.excerpt == ("p:ev strlen a=%x0 b=%foo", 20)
    for line, message in (
        ("event -:nosuch", "ENOENT: no event is 'nosuch'"),
        ("event strlen", "EINVAL: 'strlen' begins no definition"),
        ("event p", "EINVAL: 'p' needs a place"),
        ("events format nosuch", "ENOENT: there is no event 'nosuch'"),
        ("event", "event needs TEXT"),
    ):
        with pytest.raises(CommandError, match=re.escape(message)):
            session.run(line)
    session.run("event p:ev strlen")
    session.run("events enable ev")
    for line in "event -:ev", "events clear":
        with pytest.raises(CommandError, match=r"^EBUSY: kprobes/ev is enabled: disable it first$"):
            session.run(line)


def test_files(session: Session, tmp_path: Path) -> None:
    """What is saved is loaded; a wrong line is named, and those before it stay."""
    file = tmp_path / "events"
    session.run("event p:a strlen")
    session.run("event r:b kmalloc size=$retval:x64")
    listed = session.kprobes.events.list()
    assert session.run(f"events save {file}") == f"2 events are in {file}\n"
    session.run("event p:c kfree")
    assert session.run(f"events load {file}").count("defined: ") == 2
    assert session.kprobes.events.list() == listed
    file.write_text("# more\n\n  p:d kfree\np:e kfree %x99\np:f kfree\n")
    with pytest.raises(CommandError, match=re.escape(f"{file}:4: EINVAL: Invalid register name")):
        session.run(f"events load {file} add")
    assert session.kprobes.events.list() == [*listed, "p:kprobes/d kfree"]
    with pytest.raises(CommandError, match="which armprobe has not made"):
        session.run(f"events save {file}")


def test_other_front_ends(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert monitor(debugger, "event p:ev strlen") == "defined: p:kprobes/ev strlen\n"
        assert "Invalid fetch argument" in monitor(debugger, "event p:ev2 strlen junk")
        assert monitor(debugger, "events") == "p:kprobes/ev strlen  # disabled\n"
    assert session.complete("events enable kp") == ["kprobes/ev"]
    assert main(["--json", "-c", "event p:ev strlen", "-c", "events"]) == 0
    assert '"definition": "p:kprobes/ev strlen"' in capsys.readouterr().out
