# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as they come, how many are kept, and files of them, by commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.cli import main
from armprobe.session.authority import Asker
from armprobe.stub import serve
from tests.stub.client import Client

pytestmark = pytest.mark.sample(of="files")

RUN = "continue instructions=3000000"
COMMANDS = ("--trace-size", "262144", "-c", "kprobe kfree", "-c", "kretprobe kmalloc", "-c", RUN)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("trace size 262144")
        session.run("kprobe kfree")
        session.run("kretprobe kmalloc")
        yield session


def test_follow_shows_what_trace_shows(session: Session) -> None:
    """The run has several slices."""
    assert not [line for line in session.run(RUN).splitlines() if "kmalloc" in line]
    before = len(session.kprobes.hits.traced())
    session.run("trace follow")
    followed = session.run(RUN)
    assert session.run("trace follow off") == "hits are not shown\n"
    *lines, stop = followed.splitlines()
    assert lines == session.run("trace 1000000").splitlines()[before:]
    assert len(lines) > 1000
    assert stop.startswith("stopped as asked")
    assert session.run(RUN).count("\n") == 1


def test_what_is_lost_is_counted(session: Session) -> None:
    session.run("trace size 100")
    session.run("trace follow")
    followed = session.run(RUN).splitlines()
    lost = [int(line.split()[2]) for line in followed if line.startswith("CPU:0 [LOST ")]
    shown = [line for line in followed if "kfree:" in line or "kmalloc:" in line]
    stages = 2 * sum(probe.hits for probe in session.probes.values())
    # Of each two stages of a hit one has a line, and either may be the oldest that is kept.
    assert abs(stages - sum(lost) - 2 * len(shown)) <= len(lost)
    assert len(lost) > 1
    first, *kept = session.run("trace 1000").splitlines()
    assert first == f"CPU:0 [LOST {stages - 100} EVENTS]"
    assert kept == followed[-1 - len(kept) : -1]
    assert session.run("trace size") == (
        f"100 stages of hits are kept, of which there are 100; {stages - 100:,} before them are lost\n"
    )


def test_gdb_s_run_is_followed_too(session: Session) -> None:
    """At the prompt."""
    notices: list[str] = []
    session.on_notice(notices.append)
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert session.run("trace follow").startswith("hits are shown")
        assert debugger.ask(b"Z0,%x,4" % session.machine.symbols["workload_round"].address) == b"OK"
        for action in b"c", b"s", b"c", b"s", b"c":
            assert debugger.ask(b"vCont;" + action)[:1] == b"T"
        lines = session.run("trace 1000000")
    assert lines.count("kmalloc: (") > 10
    assert "".join(notices).removeprefix("gdb attached\n").removesuffix("gdb detached\n") == lines


def test_another_state_of_the_machine_brings_no_old_hits(session: Session) -> None:
    """Neither an earlier one, with fewer hits, nor a later one."""
    restore = session.machine.restore
    earlier = session.machine.snapshot()
    session.run(RUN)
    later = session.machine.snapshot()
    session.run("trace follow")
    followed = session.run(RUN)
    session.owner.call(restore, later)
    assert session.run(RUN) == followed
    session.owner.call(restore, earlier)
    session.run("continue instructions=1000")
    session.owner.call(restore, later)
    assert session.run(RUN) == followed


def test_files(session: Session, tmp_path: Path) -> None:
    session.run(RUN)
    lines = session.run("trace 1000000")
    said = session.run(["trace", ">", str(tmp_path / "any.thing")])
    stages = len(session.kprobes.hits)
    assert said == f"{tmp_path / 'any.thing'}: {stages:,} stages of hits, as text of the kernel's trace file\n"
    assert (tmp_path / "any.thing").read_text().endswith(lines)
    assert session.ask(["trace", "save", str(tmp_path / "a.csv")]).stages == len(session.kprobes.hits)
    for line in "trace >x", "trace save", "trace save x", "trace nosuch":
        with pytest.raises(CommandError):
            session.run(line)


def test_only_who_may_write_files_saves_them(session: Session, tmp_path: Path) -> None:
    for line in f"trace save {tmp_path}/a.csv", f"trace > {tmp_path}/a", f"kprobe-trace save {tmp_path}/a.csv":
        said: list[str] = []
        assert not session.owner.call(session.shell.execute_for, Asker.OTHER, line, said.append)
    assert not list(tmp_path.iterdir())


def test_the_size_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-config", "--trace-size", "7", "-c", "trace size"]) == 0
    assert capsys.readouterr().out == "7 stages of hits are kept, of which there are 0\n"
    assert main(["--no-config", "--trace-size", "0", "-c", "trace size"]) == 1
    assert capsys.readouterr().err == (
        "armprobe: EINVAL: 0 stages of hits cannot be kept: give a number up to 262144\n"
    )


def test_query(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    session.run(RUN)
    hits = {probe.name: probe.hits for probe in session.probes.values()}
    for line in (
        "query SELECT probe, count(*) FROM hits GROUP BY 1",
        'query "SELECT probe, count(*) FROM hits GROUP BY 1"',
    ):
        assert dict(session.ask(line).rows) == hits
    text = session.run("query SELECT probe, count(*) AS n, max(note) AS nothing FROM hits GROUP BY 1 ORDER BY 1")
    kfree, kmalloc = hits["kfree"], hits["kmalloc"]
    assert text == f"probe       n  nothing\nkfree    {kfree}\nkmalloc  {kmalloc}\n"
    file = tmp_path / "a.parquet"
    session.run(["trace", "save", str(file)])
    for words in (["SELECT sum(hit) FROM hits", str(file)], ["SELECT sum(hit) FROM hits", *COMMANDS]):
        assert main(["query", "--no-config", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[at + 1] for at, line in enumerate(lines) if line == "sum(hit)"] == [
        str(sum(n * (n + 1) // 2 for n in hits.values()))
    ] * 2
    for words in ([], [str(file), *COMMANDS]):
        assert main(["query", "--no-config", "SELECT 1", *words]) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_without_duckdb(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(CommandError) as raised:
        session.run("query SELECT 1")
    assert str(raised.value) == "a query needs duckdb, which is not installed: pip install 'armprobe[data]'"
