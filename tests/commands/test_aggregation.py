# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands count, hist, latency and counts, against the hits that an ordinary probe records in an equal run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session, values
from armprobe.commands.cli import main
from armprobe.commands.render.text import as_text
from armprobe.probes import Hit, Kretprobe, ProbeError, Stage
from armprobe.stub import serve
from tests.commands.test_authority import monitor
from tests.stub.client import Client

RUN = "continue instructions=200000"

BLOCK_IO = """\
[4K, 8K)              24 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
[8K, 16K)              2 |@@@@                                                |
[16K, 32K)             6 |@@@@@@@@@@@@@                                       |
[32K, 64K)             5 |@@@@@@@@@@                                          |
[64K, 128K)            0 |                                                    |
[128K, 256K)           1 |@@                                                  |
"""
"""Of bpftrace's docs/tutorial_one_liners.md, lesson 11."""


def started() -> Session:
    session = Session("demo", memory="16M")
    session.run("continue until=workload_round")
    return session


@pytest.fixture
def session() -> Iterator[Session]:
    with started() as session:
        yield session


@pytest.fixture(scope="module")
def recorded() -> list[Hit]:
    """The stages of all calls of kmalloc in the run."""
    with started() as session:
        session.kprobes.kept = 1 << 16
        session.run("kretprobe kmalloc")
        session.run(RUN)
        return list(session.kprobes.hits)


def counted(session: Session, line: str) -> values.Aggregated:
    """What a command has counted in the run."""
    session.run(line)
    session.run(RUN)
    found = session.ask("counts")
    assert isinstance(found, values.Aggregates)
    (only,) = found
    assert isinstance(only, values.Aggregated)
    return only


def test_a_histogram_is_printed_as_bpftrace_does() -> None:
    with started() as session:
        session.run("hist kmalloc x0")
        (probe,) = session.probes.values()
        assert probe.aggregate is not None
        for size, count in ((4096, 24), (8192, 2), (16384, 6), (32768, 5), (131072, 1)):
            for n in range(count):
                probe.aggregate.table.add(bytes(16), size + n)
        text = session.run("counts")
    assert text.partition("\n")[2].partition("\n")[2] == BLOCK_IO


@pytest.mark.parametrize(
    ("low", "high", "linear", "interval"),
    [
        (None, -1, False, "(..., 0)"),
        (0, 0, False, "[0]"),
        (1, 1, False, "[1]"),
        (2, 3, False, "[2, 4)"),
        (512, 1023, False, "[512, 1K)"),
        (1 << 39, (1 << 40) - 1, False, "[512G, 1T)"),
        (None, -11, True, "(..., -10)"),
        (1000, 1199, True, "[1000, 1200)"),
        (2000, None, True, "[2000, ...)"),
    ],
)
def test_an_interval(low: int | None, high: int | None, linear: bool, interval: str, session: Session) -> None:
    """As hist_index_label and lhist of bpftrace's src/output.cpp have it."""
    session.run("hist kmalloc x0")
    (found,) = session.ask("counts")
    assert isinstance(found, values.Aggregated)
    key = values.CountedKey(None, None, None, 1, 1, 1, (values.HistogramBucket(low, high, 1),))
    shown = values.Aggregated(found.probe, "x0", "", None, linear, (key,), 1, 0, 0)
    assert as_text(values.Aggregates((shown,))).splitlines()[2] == f"{interval:<16}       1 |{'@' * 52}|"


def test_count_by_caller(session: Session, recorded: list[Hit]) -> None:
    found = counted(session, "count kmalloc by caller")
    assert found.probe.optimized
    callers = {key.caller.address: key.count for key in found.keys if key.caller is not None}
    assert callers == Counter(hit.regs.regs[30] for hit in recorded if hit.stage is Stage.ENTRY)
    assert "@[slab_round+0x80]: " in session.run("counts")
    assert found.probe.aggregate == "count by caller"
    assert session.run("probes").splitlines()[1].endswith("[OPTIMIZED] count by caller")


def test_hist_of_an_argument_with_a_condition(session: Session, recorded: list[Hit]) -> None:
    found = counted(session, "hist kmalloc x0 / 2 by x0 & 1 if x0 > 100")
    sizes = [hit.regs.regs[0] for hit in recorded if hit.stage is Stage.ENTRY and hit.regs.regs[0] > 100]
    assert {key.number: (key.count, key.total) for key in found.keys} == {
        odd: (len(own), sum(size // 2 for size in own))
        for odd in (0, 1)
        for own in [[size for size in sizes if size % 2 == odd]]
    }
    assert found.value == "x0 / 2"
    assert found.probe.condition == "x0 > 100"


def test_latency_of_the_calls_that_a_condition_on_arguments_selects(session: Session, recorded: list[Hit]) -> None:
    found = counted(session, "latency kmalloc if x0 > 300")
    entered = {hit.number: hit for hit in recorded if hit.stage is Stage.ENTRY}
    times = [
        (hit.ticks - entered[hit.number].ticks) * 16  # ns: the counter has 62.5 MHz
        for hit in recorded
        if hit.stage is Stage.RETURN and entered[hit.number].regs.regs[0] > 300
    ]
    (key,) = found.keys
    assert (key.count, key.total, found.unit) == (len(times), sum(times), "ns")
    assert found.probe.kind == "kretprobe"
    assert sum(bucket.count for bucket in key.buckets) == len(times) > 10


def test_with_retval_it_is_about_returns(session: Session, recorded: list[Hit]) -> None:
    found = counted(session, "hist kmalloc retval & 0xfff if retval != 0")
    results = [hit.regs.regs[0] & 0xFFF for hit in recorded if hit.stage is Stage.RETURN]
    (key,) = found.keys
    assert (key.count, key.total) == (len(results), sum(results))


def test_clearing_and_ending(session: Session) -> None:
    first = counted(session, "count kfree")
    shown = session.run("counts clear=yes")
    assert f"\n@: {first.keys[0].count}\n" in shown
    assert "nothing was counted\n" in session.run("counts")
    assert session.run("count kfree").startswith("kprobe 2")
    assert "nothing was counted: kfree was not hit\n" in session.run("counts 2")
    session.run("unregister 2")
    none = session.run("count kmalloc instructions=200000 if size == 0")
    assert "nothing was counted: the condition held at none of the hits\n" in none
    session.run(RUN)
    (again,) = session.ask("counts 1")
    assert again.keys[0].count > 0
    session.run("unregister 1")
    assert session.run("counts").startswith("no probe counts")
    session.run("kprobe kfree")
    with pytest.raises(CommandError, match="kfree does not count"):
        session.run("counts kfree")


def test_from_a_debugger_and_as_json(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert monitor(debugger, "count kfree by caller") == "kprobe 1: kfree at 0xffff800000083cc0, count by caller\n"
        session.machine.run(instructions=200_000)
        assert monitor(debugger, "counts") == session.run("counts")
    options = [
        word for line in ("continue until=workload_round", "hist kmalloc x0", RUN, "counts") for word in ("-c", line)
    ]
    assert main(["--json", *options]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    (found,) = json.loads(last)["value"]
    assert found["value"] == "x0"
    assert found["keys"][0]["count"] == sum(bucket["count"] for bucket in found["keys"][0]["buckets"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("hist kfree", "hist needs EXPRESSION"),
        ("hist kfree by x0", "hist needs EXPRESSION"),
        ("hist kfree x0 by", "by needs KEY after it"),
        ("count kfree by x0 +", "is wrong at its end"),
        ("count kfree+4 by caller", "the caller is known at a function's entry"),
        ("latency kfree+4", "is not the entry of a function"),
        ("count kfree by $comm", "the tasks of this guest are not known"),
        ("count kfree if $tgid == 1", "has no member tgid in a struct task_struct"),
        ('count kfree if x0 == "dd"', "a text can only be compared with characters"),
        ("hist kfree elapsed + 1", "there is no symbol 'elapsed'"),
        ("count kfree maxactive=3", "maxactive is for calls that are waited for"),
        ("hist kfree linear=1,2 x0", "linear= takes three numbers"),
        ("hist kfree linear=1,0,1 x0", "has no buckets"),
        ("count kfree keys=0", "a table of 0 keys cannot be made"),
        ("count kfree by caller, p", "a key is one value; an event's trigger hist:keys=A,B counts by several"),
        ("count kfree by str(p), p", "a key is one value"),
        ("count kfree by p top=5", "an operator was expected; count has no option top="),
        ("latency kfree whil 1", "latency does not know what to do with 'whil': did you mean while?"),
        ('kprobe kfree if p > 3 prnt "%p", p', "an operator was expected; did you mean print?"),
        ("kprobe kmalloc if sise > 3", "nor has kmalloc an argument of that name: did you mean size?"),
        ("trace folow", "; did you mean trace follow?"),
    ],
)
def test_what_is_refused(line: str, reason: str, session: Session) -> None:
    with pytest.raises((CommandError, ProbeError)) as refused:
        session.run(line)
    assert reason in str(refused.value)
    assert not session.probes


def test_a_pointer_to_text_as_a_key(session: Session) -> None:
    """size_t strlen(const char *s), guests/demo/lib/string.c"""
    assert session.run("count strlen by s").startswith("note: by s counts addresses; by str(s) the texts there\n")
    for line in ("count strlen by str(s)", "count kfree by p", "count kmalloc by size"):
        assert session.run(line).startswith("kprobe ")


def test_from_python(session: Session, recorded: list[Hit]) -> None:
    kprobes = session.kprobes
    by_caller = kprobes.on("kmalloc", key=lambda hit: hit.caller).hist("elapsed_ns")
    large = kprobes.on("kmalloc", condition="x0 > 300").count()
    session.run(RUN)
    returns = Counter(hit.caller for hit in recorded if hit.stage is Stage.RETURN)
    assert {row.key: row.count for row in by_caller.counted()} == returns
    (row,) = large.counted()
    assert row.count == sum(hit.regs.regs[0] > 300 for hit in recorded if hit.stage is Stage.ENTRY)
    assert isinstance(by_caller.probe, Kretprobe)
    for each in (by_caller, large):
        assert each.probe is not None
        kprobes.unregister(each.probe)


def test_what_is_refused_from_python(session: Session) -> None:
    kprobes = session.kprobes
    with pytest.raises(ProbeError, match="give a text, or a function of one field"):
        kprobes.on("kmalloc", key=lambda hit: 3)
    with pytest.raises(ProbeError, match="there is no symbol 'nosuch'"):
        kprobes.on("kmalloc", key=lambda hit: hit.nosuch).count()
