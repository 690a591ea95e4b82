# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's tracepoints on the demo kernel. What they collect is held against what gdb sees when it stops there instead."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import GdbError, GdbSession, Session
from armprobe.machine import Snapshot
from armprobe.stub import GuestView, serve
from armprobe.stub.tracing.experiment import Experiment
from armprobe.stub.tracing.tracepoint import Tracepoint
from tests.gdb.oracle import DEMO
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

GENERAL = (*(f"x{n}" for n in range(31)), "sp", "pc", "cpsr", "fpsr", "fpcr")


@pytest.fixture
def gdb(gdb: GdbSession) -> GdbSession:
    """At the first round."""
    gdb.execute("tbreak *workload_round")
    gdb.continue_to_stop()
    return gdb


@pytest.fixture
def start(gdb: GdbSession, session: Session) -> Snapshot:
    return session.machine.snapshot()


def actions(gdb: GdbSession, folder: Path, command: str, *lines: str) -> None:
    """Define a tracepoint with its actions, which gdb reads from a file."""
    script = folder / "actions"
    script.write_text("\n".join([command, "actions", *lines, "end", ""]))
    gdb.execute(f"source {script}")


def trace(gdb: GdbSession, until: str = "*list_round") -> None:
    gdb.execute("tstart")
    gdb.execute(f"tbreak {until}")
    gdb.continue_to_stop()
    gdb.execute("tstop")


def frames(gdb: GdbSession) -> Iterator[int]:
    """Select each trace frame."""
    number = 0
    while "Found trace frame" in _tfind(gdb, str(number)):
        yield number
        number += 1
    gdb.execute("tfind none")


def _tfind(gdb: GdbSession, what: str) -> str:
    try:
        return gdb.execute(f"tfind {what}")
    except GdbError as error:
        return str(error)


def seen_at_breakpoints(gdb: GdbSession, place: str, expressions: list[str], condition: str = "") -> list[list[str]]:
    """The values gdb has of expressions whenever execution reaches `place`, until the lists begin."""
    gdb.execute("delete")
    gdb.execute(f"break {place} {condition}")
    gdb.execute("tbreak *list_round")
    found = []
    while gdb.continue_to_stop().function != "list_round":
        found.append([gdb.evaluate(expression) for expression in expressions])
    gdb.execute("delete")
    return found


@pytest.mark.parametrize("steps", [(), ("while-stepping 1", "collect $pc", "end")], ids=["hits", "steps"])
def test_python_has_the_hits_at_which_the_condition_is_true(
    gdb: GdbSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...]
) -> None:
    came, hit = [], Experiment._hit

    def comes(experiment: Experiment, tracepoint: Tracepoint, view: GuestView) -> int:
        came.append(tracepoint)
        return hit(experiment, tracepoint, view)

    monkeypatch.setattr(Experiment, "_hit", comes)
    actions(gdb, tmp_path, "trace *kmalloc if size > 300", "collect $pc", *steps)
    trace(gdb)
    assert 0 < len(came) == len(list(frames(gdb))) / (2 if steps else 1)


def test_what_is_collected(gdb: GdbSession, session: Session, start: Snapshot, tmp_path: Path) -> None:
    expressions = [f"${name}" for name in GENERAL] + ["$v0.d.u", "$v31.d.u", "size", "workload.random", "*(long *) $sp"]
    expected = seen_at_breakpoints(gdb, "*kmalloc", expressions, "if size > 300")
    assert expected
    session.machine.restore(start)
    gdb.execute("flushregs")
    actions(gdb, tmp_path, "trace *kmalloc if size > 300", "collect $regs, $args, workload.random, *(long *) $sp")
    trace(gdb)
    collected = [[gdb.evaluate(expression) for expression in expressions] for _ in frames(gdb)]
    assert collected == expected


def test_locals_by_location_lists(gdb: GdbSession, session: Session, start: Snapshot, tmp_path: Path) -> None:
    """In the midst of a function that was optimized: what gdb can show at a stop it can show of a frame."""
    place = gdb.execute("info line slab.c:102").split("starts at address ")[1].split()[0]
    expected = seen_at_breakpoints(gdb, f"*{place}", ["p", "$x0"])
    session.machine.restore(start)
    gdb.execute("flushregs")
    actions(gdb, tmp_path, f"trace *{place}", "collect $args, $locals, $reg")
    trace(gdb)
    assert [[gdb.evaluate("p"), gdb.evaluate("$x0")] for _ in frames(gdb)] == expected


def test_while_stepping(gdb: GdbSession, session: Session, start: Snapshot, tmp_path: Path) -> None:
    """Each step is a frame, and is what stepi would have been."""
    expected = []
    gdb.execute("break *kfree")
    for _ in range(3):
        gdb.continue_to_stop()
        expected.append((gdb.register("pc"), gdb.register("x1")))
        for _ in range(6):
            gdb.step()
            expected.append((gdb.register("pc"), gdb.register("x1")))
    session.machine.restore(start)
    gdb.execute("flushregs")
    gdb.execute("delete")
    actions(gdb, tmp_path, "trace *kfree", "collect $regs", "while-stepping 6", "collect $regs", "end")
    gdb.execute("passcount 4")
    trace(gdb)
    assert [(gdb.register("pc"), gdb.register("x1")) for _ in frames(gdb)][: len(expected)] == expected
    assert "Trace stopped by" in gdb.execute("tstatus")
    gdb.execute("tbreak *batch_report")  # and the guest's results are right
    gdb.continue_to_stop()
    assert gdb.evaluate("workload.failures") == "0"


def test_stepping_by_hand_over_a_tracepoint_that_steps(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *kfree", "while-stepping 3", "collect $pc", "end")
    gdb.execute("tstart")
    gdb.execute("tbreak *kfree")
    gdb.continue_to_stop()
    places = []
    for _ in range(5):
        places.append(gdb.register("pc"))
        gdb.step()
    gdb.execute("tstop")
    assert places == [places[0] + 4 * i for i in range(5)]
    assert [gdb.register("pc") for _ in frames(gdb)] == places[:4]


def test_next_over_tracepoints(gdb: GdbSession, tmp_path: Path) -> None:
    """A range is stepped, with tracepoints in it that step themselves."""
    lines = []
    for traced in (False, True):
        if traced:
            actions(gdb, tmp_path, "trace *kmalloc", "while-stepping 50", "collect $pc", "end")
            gdb.execute("tstart")
        gdb.execute("tbreak slab_round")
        gdb.continue_to_stop()
        lines.append([int(gdb.execute("next").split("\t", 1)[0]) for _ in range(5)])
    assert lines[0] == lines[1]
    assert "Collected 0" not in gdb.execute("tstatus")


def test_variables(gdb: GdbSession, tmp_path: Path) -> None:
    gdb.execute("tvariable $allocated = 100")
    actions(gdb, tmp_path, "trace *kmalloc", "teval $allocated = $allocated + size", "collect $allocated, size")
    trace(gdb)
    total = 100
    for _ in frames(gdb):
        total += int(gdb.evaluate("size"))
        assert int(gdb.evaluate("$allocated")) == total
    assert re.search(rf"\$allocated +100 +{total} *\n", gdb.execute("info tvariables"))


def test_timestamps(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *kmalloc", "collect $trace_timestamp")
    trace(gdb)
    stamps = [int(gdb.evaluate("$trace_timestamp")) for _ in frames(gdb)]
    assert stamps == sorted(stamps)
    assert 0 < stamps[0] < stamps[-1]


def test_finding_frames(gdb: GdbSession, session: Session, tmp_path: Path) -> None:
    for place in ("*kmalloc", "*kfree", "*strlen"):
        actions(gdb, tmp_path, f"trace {place}", "collect $pc")
    numbers = [int(number) for number in re.findall(r"^(\d+) +tracepoint", gdb.execute("info tracepoints"), re.M)]
    trace(gdb, "*sort_round")  # strings come before it
    order = [gdb.register("pc") for _ in frames(gdb)]
    places = {name: int(gdb.evaluate(f"(unsigned long) &{name}")) for name in ("kmalloc", "kfree", "strlen")}
    gdb.execute("tfind start")
    assert f"Found trace frame {order.index(places['kfree'])}, tracepoint {numbers[1]}" in gdb.execute("tfind pc kfree")
    following = order.index(places["strlen"], order.index(places["kfree"]) + 1)
    assert f"Found trace frame {following}, tracepoint {numbers[2]}" in gdb.execute(f"tfind tracepoint {numbers[2]}")
    start, end = places["kmalloc"], places["kmalloc"] + 16
    gdb.execute("tfind none")
    assert f"Found trace frame {order.index(start)}," in gdb.execute(f"tfind range {start:#x}, {end:#x}")
    outside = next(i for i, pc in enumerate(order) if not start <= pc <= end)
    assert f"Found trace frame {outside}," in gdb.execute(f"tfind outside {start:#x}, {end:#x}")
    assert "failed to find requested trace frame" in _tfind(gdb, "pc batch_report")


def test_what_was_not_collected(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *kmalloc", "collect workload.random")
    trace(gdb)
    gdb.execute("tfind 0")
    assert gdb.evaluate("workload.round") == "<unavailable>"
    assert gdb.evaluate("$x0") == "<unavailable>"
    assert gdb.register("pc") == int(gdb.evaluate("(unsigned long) &kmalloc"))  # as the tracepoint's place is known
    assert "<kmalloc>:" in gdb.execute("x/2i $pc")  # text does not change
    with pytest.raises(GdbError):
        gdb.execute("set var workload.random = 1")
    gdb.execute("tfind none")
    assert gdb.evaluate("workload.round") == "0"


def test_a_place_without_probes_is_refused(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *nokprobe_symbol_mix", "collect $pc")
    with pytest.raises(GdbError):
        gdb.execute("tstart")
    gdb.execute("delete")
    actions(gdb, tmp_path, "trace *kmalloc", "collect $pc")
    trace(gdb)
    assert "Collected 24 trace frames" in gdb.execute("tstatus")


def test_fast_tracepoints_and_default_collect(gdb: GdbSession) -> None:
    gdb.execute("set default-collect $regs")
    gdb.execute("ftrace *kmalloc")
    trace(gdb)
    assert "Collected 24 trace frames" in gdb.execute("tstatus")
    gdb.execute("tfind 3")
    assert gdb.register("x0") > 0


def test_enabling_while_it_runs(gdb: GdbSession, tmp_path: Path) -> None:
    for place in ("*kmalloc", "*kfree"):
        actions(gdb, tmp_path, f"trace {place}", "collect $pc")
    numbers = re.findall(r"^(\d+) +tracepoint", gdb.execute("info tracepoints"), re.M)
    gdb.execute(f"disable {numbers[1]}")
    gdb.execute("tstart")
    gdb.execute("tbreak *list_round")
    gdb.continue_to_stop()
    assert "Collected 24 trace frames" in gdb.execute("tstatus")
    gdb.execute(f"enable {numbers[1]}")
    gdb.execute(f"disable {numbers[0]}")
    gdb.execute("tbreak *string_round")
    gdb.continue_to_stop()
    gdb.execute("tstop")
    assert {gdb.register("pc") for i in frames(gdb) if i >= 24} <= {int(gdb.evaluate("(unsigned long) &kfree"))}


def test_defining_while_it_runs(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *kfree", "collect $pc")
    gdb.execute("tstart")
    actions(gdb, tmp_path, "trace *kmalloc", "collect $pc, size")
    gdb.execute("tbreak *list_round")
    gdb.continue_to_stop()
    gdb.execute("tstatus")  # which asks for the hits
    assert "tracepoint already hit 24 times" in gdb.execute("info tracepoints")


@pytest.mark.parametrize("circular", [True, False])
def test_a_full_buffer(gdb: GdbSession, tmp_path: Path, circular: bool) -> None:
    gdb.execute("set trace-buffer-size 9000")
    gdb.execute(f"set circular-trace-buffer {'on' if circular else 'off'}")
    actions(gdb, tmp_path, "trace *kmalloc", "collect workload.round, size")
    trace(gdb)
    status = gdb.execute("tstatus")
    count = len(list(frames(gdb)))
    assert 0 < count < 24
    assert ("Buffer contains" in status and "(of 24 created total)" in status) == circular
    assert ("Trace stopped because the buffer was full" in status) != circular


def test_an_action_that_fails_ends_the_experiment(gdb: GdbSession, tmp_path: Path) -> None:
    actions(gdb, tmp_path, "trace *kmalloc", "collect **(long **) 0xffff900000000000")
    trace(gdb)
    status = gdb.execute("tstatus")
    assert "Trace stopped by an error" in status
    assert "0xffff900000000000 is not mapped" in status


def test_notes(gdb: GdbSession, tmp_path: Path) -> None:
    gdb.execute("set trace-user somebody")
    actions(gdb, tmp_path, "trace *kmalloc", "collect $pc")
    gdb.execute("tstart because I can")
    gdb.execute("tstop that is enough")
    status = gdb.execute("tstatus")
    assert "somebody" in status
    assert "because I can" in status
    assert "that is enough" in status


def test_a_trace_file(gdb: GdbSession, gdb_path: str, tmp_path: Path) -> None:
    """tsave takes it home, and another gdb, with no machine, reads of it what the first one does."""
    gdb.execute("tvariable $n = 7")
    actions(gdb, tmp_path, "trace *kmalloc if size > 300", "collect $regs, workload.random, $n")
    trace(gdb)
    path = tmp_path / "trace.tf"
    gdb.execute(f"tsave {path}")
    expressions = ["(unsigned long) $pc", "$x0", "$x30", "workload.random", "$n"]
    expected = [[gdb.evaluate(each) for each in expressions] for _ in frames(gdb)]
    script = tmp_path / "script"
    lines = [f"target tfile {path}", "tstatus"]
    for number in range(len(expected)):
        lines += [f"tfind {number}", *(f'printf "value "\noutput {each}\necho \\n' for each in expressions)]
    script.write_text("\n".join([*lines, ""]))
    command = [gdb_path, "-nx", "-batch", str(DEMO), "-x", str(script)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert "Trace stopped by a tstop command" in said
    values = re.findall("^value (.*)$", said, re.M)
    assert values == [value for frame in expected for value in frame]


def test_a_trace_file_by_a_gdb_that_looked_at_nothing(session: Session, gdb_path: str, tmp_path: Path) -> None:
    """gdb takes from a `g` how large the registers of each frame are: with what it believes before, memory is lost."""
    script, path = tmp_path / "script", tmp_path / "trace.tf"
    experiment = [
        "set print frame-arguments none",
        "tbreak *workload_round",
        "continue",
        "trace *kmalloc",
        "actions",
        "collect size, workload",
        "end",
    ]
    script.write_text(
        "\n".join([*experiment, "tstart", "tbreak *list_round", "continue", "tstop", f"tsave {path}", ""])
    )

    def run(*arguments: str) -> str:
        command = [gdb_path, "-nx", "-batch", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    with serve(session, "127.0.0.1:0") as server:
        run("-ex", f"target remote {server.address}", "-x", str(script))
    looks = ["tfind 3", "output size", "echo \\n", "output workload.random", "echo \\n"]
    said = run(str(DEMO), "-ex", f"target tfile {path}", *(word for look in looks for word in ("-ex", look)))
    assert re.search(r"^Found trace frame 3, tracepoint 1\n\d+\n\d+$", said, re.M), said


def test_it_goes_on_without_gdb(session: Session, gdb_path: str, gdbinit: Path, tmp_path: Path) -> None:
    """disconnected-tracing: another gdb is told of the tracepoints, and sees the frames."""
    with serve(session, "127.0.0.1:0") as server:
        with GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit) as first:
            first.execute("tbreak *workload_round")
            first.continue_to_stop()
            first.execute("set disconnected-tracing on")
            actions(first, tmp_path, "trace *kmalloc if size > 300", "collect size", "teval $pc")
            first.execute("tstart")
        while session.controlled:
            pass
        session.run("continue until=list_round")
        with GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit) as second:
            assert "Trace is running on the target" in second.execute("tstatus")
            second.execute("tstop")
            defined = second.execute("info tracepoints")
            assert "trace only if size > 300" in defined
            assert "collect size" in defined
            sizes = [int(second.evaluate("size")) for _ in frames(second)]
            assert sizes
            assert min(sizes) > 300
        assert session.kprobes.list() == []


def test_it_ends_with_gdb_otherwise(session: Session, gdb_path: str, gdbinit: Path, tmp_path: Path) -> None:
    with serve(session, "127.0.0.1:0") as server:
        with GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit) as first:
            first.execute("tbreak *workload_round")
            first.continue_to_stop()
            actions(first, tmp_path, "trace *kmalloc", "collect $pc")
            first.execute("tstart")
            assert len(session.kprobes.list()) == 1
        while session.controlled:
            pass
        assert session.kprobes.list() == []
        with GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit) as second:
            assert "Trace stopped because of disconnection" in second.execute("tstatus")
