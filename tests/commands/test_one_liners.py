# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that count while they run the guest, and those about functions that are watched."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session, values
from armprobe.commands.cli import main
from armprobe.commands.render.live import Live
from armprobe.commands.render.styled import Styles
from armprobe.commands.render.text import as_text
from armprobe.probes import ProbeError
from armprobe.stub import serve
from tests.commands.test_authority import monitor
from tests.stub.client import Client
from tests.waiting import PATIENCE

RUN = "instructions=100000"


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        yield session


def test_a_run_of_its_own_leaves_nothing(session: Session) -> None:
    for line in (
        "count kfree by caller",
        "hist kmalloc x0 by x0 & 1 if x0 > 100",
        "latency kmalloc",
        "stacks kfree",
        "funccount k*",
        "funcgraph slab_round depth=2",
        "top k*",
        "argdist -C kmalloc x0",
    ):
        before = session.machine.instructions
        assert session.ask(f"{line} {RUN}")
        assert session.machine.instructions == before + 100_000
        assert not session.ask("probes"), line
        assert not session.ask("counts")
    assert session.ask("count kfree seconds=0.001")[0].keys[0].count > 0
    assert not session.machine.core.native.state.functions


def test_the_same_counts_by_every_way(session: Session) -> None:
    """Of one run: probes by caller, by stack and by value, and functions without probes."""
    session.run("count kmalloc by caller")
    session.run("stackcount kmalloc")
    session.run("argdist -C kmalloc x0")
    session.run("argdist -H 'p::kmalloc(long bytes, int flags):long:bytes'")
    session.run("funccount kmalloc")
    session.run("funcgraph kmalloc depth=1")
    session.run("continue instructions=200000")
    callers, stacks, by_value, sizes, functions, graph = session.ask("counts")
    whole = functions.called[0].calls
    assert whole > 100
    assert sum(key.count for key in callers.keys) == sum(key.count for key in stacks.keys) == whole
    assert {key.caller.address: key.count for key in callers.keys} == {
        key.stack[1].address: key.count for key in stacks.keys
    }
    assert sizes.keys[0].count == sum(key.count for key in by_value.keys) == whole
    assert sizes.keys[0].total == sum(key.number * key.count for key in by_value.keys)
    assert len([line for line in graph.lines if line.kind != "return"]) == whole
    rows = {row.number: (row.kind, row.hits) for row in session.ask("probes")}
    assert rows[functions.number] == ("funccount", whole)
    assert rows[graph.number] == ("funcgraph", whole)
    folded = session.run("counts 2 folded=yes").splitlines()
    assert {line.rpartition(" ")[0].rpartition(";")[2] for line in folded} == {"kmalloc"}
    assert sum(int(line.rpartition(" ")[2]) for line in folded) == whole
    assert "counts 6 functions" not in session.run("unregister 5")
    assert [row.number for row in session.ask("probes")] == [1, 2, 3, 4, 6]
    session.run("unregister all")
    assert not session.ask("probes")


def test_bccs_flags_and_defaults(session: Session) -> None:
    """Each pair of lines asks the same: the second as bcc has it (tools/*_example.txt)."""
    start = session.machine.snapshot()
    for ours, theirs in (
        ("hist kmalloc retval", "argdist -H 'r::kmalloc'"),
        ("count kmalloc by retval", "argdist -C 'r::kmalloc(size_t size)#label'"),
        ("count kmalloc", "argdist -C 'p::kmalloc(size_t size)'"),
        ("count kmalloc by retval if $elapsed > 0", "argdist -C 'r::kmalloc():u64:$retval:$latency > 0'"),
        ("hist kmalloc elapsed", "argdist -H 'r::kmalloc():u64:$latency'"),
        ("count kmalloc by ((const char *)x0)", "argdist -C 'p::kmalloc(const char __user *name):u64:name'"),
        ("latency kmalloc", "funclatency kmalloc"),
        ("latency kmalloc seconds=0.001", "funclatency -d 0.001 kmalloc"),
        ("stacks kmalloc seconds=0.001", "stackcount -D 0.001 kmalloc"),
        ("funccount k*", "funccount p::k*"),
        ("funccount k* seconds=0.001", "funccount -d 0.001 k*"),
        ("funccount k* seconds=0.001", "funccount -d0.001 k*"),
        ("stacks kmalloc folded=yes seconds=0.001", "stackcount -fD 0.001 kmalloc"),
        ("stacks kmalloc folded=yes seconds=0.001", "stackcount --folded --duration=0.001 kmalloc"),
        ("funccount k* seconds=0.001", "funccount --duration 0.001 k*"),
        ("count kmalloc by retval", "argdist --count='r::kmalloc(size_t size)#label'"),
    ):
        found: list[object] = []
        for line in ours, theirs:
            session.machine.restore(start)
            session.run("unregister all")
            answer = session.ask(line if "seconds" in ours else f"{line} {RUN}")
            if isinstance(answer, values.FoldedStacks):
                found.append(answer)
            else:
                found.append(answer.called if isinstance(answer, values.FunctionsCounted) else answer[0].keys)
        assert found[0] == found[1], theirs
        assert found[0], theirs


def test_a_hit_that_c_leaves_to_python_is_one_call(session: Session) -> None:
    """The block at the function is begun again: the condition has no value, so the hit becomes an ordinary one."""
    session.run("kprobe kmalloc if *(long *)8 == 1")
    session.run("funccount kmalloc")
    for _ in range(5):
        assert "its condition cannot be evaluated" in session.run("continue")
        session.run("step")
    (counted,) = session.ask("counts")
    assert counted.called[0].calls == session.ask("probes 1")[0].hits == 5


def test_top_is_by_calls(session: Session) -> None:
    top = session.ask(f"top functions=4 {RUN}")
    assert isinstance(top, values.TopFunctions)
    calls = [each.calls for each in top.counted.called]
    assert [each.calls for each in top.top] == sorted(calls, reverse=True)[:4]
    assert top.counted.instructions == 100_000
    assert top.counted.seconds == pytest.approx(100_000 / 62.5e6)


def test_a_run_ends_at_an_interrupt_with_its_result(session: Session) -> None:
    """As Ctrl-C does: what was counted is the answer, and the guest is well."""
    shown = threading.Event()

    def show(value: object) -> None:
        if isinstance(value, Live):
            shown.set()

    def interrupt() -> None:
        shown.wait(PATIENCE)
        session.interrupt()

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    top = session.perform("top", show, lambda text: None)
    waiting.join()
    assert top.top[0].calls > 0
    assert not session.ask("probes")
    assert session.ask("count kfree instructions=50000")[0].keys[0].count > 0


def test_a_terminal_shows_the_answer_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = values.FoldedStacks([values.FoldedStack(("a", "b"), count) for count in range(50)])
    live = Live(lambda: lines)
    assert as_text(live) == ""
    assert Styles(io.StringIO()).value(live) == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    styles = Styles(io.StringIO())
    first, second, last = styles.value(live), styles.value(live), styles.value(values.FoldedStacks())
    assert first.splitlines() == [f"a;b {count}" for count in range(27, 50)]  # of 24 lines, one is for the cursor
    assert second == f"\x1b[23F\x1b[J{first}"
    assert last == "\x1b[23F\x1b[J"
    assert styles.value(values.FoldedStacks()) == ""
    styles.value(live)
    assert styles.text("of the guest\n") == "\x1b[23F\x1b[Jof the guest\n"  # which stays
    assert styles.value(values.FoldedStacks()) == ""


def test_from_a_debugger_and_as_json(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert monitor(debugger, "funccount k*") == "funccount 1: k*, 7 functions\n"
        assert monitor(debugger, "top slab_*") == "funccount 2: slab_*, 1 function\n"
        assert monitor(debugger, "funcgraph slab_round depth=2").startswith("funcgraph 3: slab_round, calls among")
        assert "gdb is in control" in monitor(debugger, "funccount k* instructions=10")
        session.machine.run(instructions=200_000)
        assert monitor(debugger, "counts") == session.run("counts")
    options = [word for line in ("continue until=workload_round", f"top {RUN}") for word in ("-c", line)]
    assert main(["--json", *options]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)["value"]
    assert found["top"][0]["calls"] >= found["top"][1]["calls"] > 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("funccount nosuch*", "no function matches 'nosuch*'"),
        ("funccount k* seconds=1 instructions=5", "give one of seconds=, instructions=, live= and while"),
        ("funccount k* seconds=nan", "is no time"),
        ("funccount k* instructions=0", "instructions= takes a count of at least 1"),
        ("count kfree while true", "are those of Linux, which this guest is not"),
        ("funcgraph k*", "follows the calls of one function"),
        ("funcgraph kfree depth=65", "a graph can have a depth of 1 to 64"),
        ("funcgraph kfree+4", "no symbol"),
        ("top functions=0", "functions= takes a number of at least 1"),
        ("stacks kfree+4", "the stack is known at a function's entry"),
        ("counts folded=yes", "folded=yes is for stacks"),
        ("argdist -H kfree", "argdist -H needs an expression"),
        ("argdist -H 'p::kfree()'", "argdist -H needs an expression"),
        ("argdist -T 5 -C kfree x0", "argdist has no -T: the most frequent keys are the last"),
        ("argdist -p", "pid= needs a value"),
        ("argdist -p 5 -C kfree x0", "choose tasks of Linux"),
        ("argdist -C 't:irq:irq_handler_entry()'", "this guest has no tracepoints"),
        ("funccount -i 1 'k*'", "funccount has no -i: live=yes shows the answer again and again"),
        (
            "funccount -Ti 5 'k*'",
            "funccount has no -T: the answer is shown once, when the counting ends; no -i: live=yes",
        ),
        ("funccount -Ti5 'k*'", "no -i: live=yes shows the answer again and again until Ctrl-C"),
        ("funclatency -uTi 1 kmalloc", "latency has no -u: times are in nanoseconds; no -T: the answer is shown once"),
        ("funclatency -F 'k*'", "latency has no -F: it is about one function: give its name"),
        ("stackcount -d kmalloc", "stacks has no -d: stacks are the kernel's"),
        ("stackcount -Df 5 kmalloc", "'f' is no time"),
        ("stackcount -fx kmalloc", "stacks does not know what to do with '-fx'"),
        ("funccount --interval=5 'k*'", "funccount has no -i: live=yes shows the answer again and again"),
        ("funclatency --microseconds kmalloc", "latency has no -u: times are in nanoseconds"),
        ("argdist --top 5 -C kfree x0", "argdist has no -T: the most frequent keys are the last"),
        ("funccount --pid=x 'k*'", "'x' is not a number"),
        ("funccount --folded 'k*'", "funccount does not know what to do with '--folded'"),
        ("funccount c:malloc", "those of programs and libraries cannot be counted"),
        ("argdist -C 'p::kfree()' -C 'p::kmalloc()'", "and a line to itself"),
        ("funccount t:block:*", "count the hits of events with kprobe t:block:*"),
        ("funccount t:sched:sched_switch", "count the hits of events with count t:sched:sched_switch"),
        ("stackcount -p x kfree", "'x' is not a number"),
        ("funclatency k*", "k* is a pattern, and this counts at one place: funccount k* counts"),
        ("funclatency -u kmalloc", "latency has no -u: times are in nanoseconds"),
        (
            "kprobe:vfs_read { @[comm] = count(); }",
            "begins a program of bpftrace, which is not understood: count, hist",
        ),
        ("trace 'kmalloc \"%d\", arg1'", "kprobe FUNCTION print"),
        ("argdist -X kfree x0", "KIND cannot be '-X'"),
        ("argdist -C 'p:c:malloc(int size):int:size'", "argdist counts functions and events of the kernel"),
        ("argdist -C 'p::kfree(int a):int:a,a'", "argdist counts by one expression"),
        ("argdist -C 'p::kfree(int a'", "is no specifier of argdist"),
        ("argdist -C 'r::kfree(int a):int:$entry(a)'", "$entry(PARAMETER)"),
        ("argdist -C 'p::kfree(int):int:a'", "is no parameter"),
    ],
)
def test_what_is_refused(line: str, reason: str, session: Session) -> None:
    session.run("count kmalloc")
    with pytest.raises((CommandError, ProbeError)) as refused:
        session.run(line)
    assert reason in str(refused.value)
    assert [row.number for row in session.ask("probes")] == [1], "what was refused has left a probe"
