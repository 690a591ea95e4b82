# SPDX-License-Identifier: GPL-2.0-or-later
"""GdbSession's breakpoints, frames, variables and registers on the demo kernel: they are what gdb and the guest say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.clients import GdbError, GdbSession, GdbTimeout, UnexpectedStop
from armprobe.commands import Session

DEMO = Path(__file__).parents[2] / "guests/demo/demo.elf"
SLAB = DEMO.parent / "kernel/slab.c"


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.fixture
def gdb(session: Session, gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute(f"file {DEMO}")
        yield gdb


def test_a_breakpoint_counts_its_hits_and_can_be_disabled_and_deleted(gdb: GdbSession) -> None:
    bp = gdb.breakpoint("kfree")
    assert repr(bp) == "<GdbBreakpoint 1 at kfree>"
    assert (bp.number, bp.hits, bp.enabled, bp.pending, bp.condition) == (1, 0, True, False, "")
    gdb.cont()
    stop = gdb.expect_stop(reason="breakpoint-hit", function="kfree", breakpoint=bp)
    assert stop.pc == bp.address == gdb.registers["pc"]
    gdb.continue_to_stop()
    assert bp.hits == 2
    other = gdb.breakpoint("kmalloc", temporary=True)
    bp.enabled = False
    assert not bp.enabled
    gdb.cont()
    gdb.expect_stop(breakpoint=other, function="kmalloc")
    with pytest.raises(GdbError, match=r"gdb has no breakpoint 2 \(kmalloc\) any more"):
        assert other.hits
    bp.delete()
    bp.delete()
    assert "No breakpoints" in gdb.execute("info breakpoints")
    with pytest.raises(GdbError, match=r"gdb has no breakpoint 1 \(kfree\) any more"):
        bp.enabled = True


def test_a_breakpoint_is_a_context(gdb: GdbSession) -> None:
    with gdb.breakpoint("kfree") as bp:
        gdb.cont()
        gdb.expect_stop(breakpoint=bp)
    assert "No breakpoints" in gdb.execute("info breakpoints")
    bp = gdb.breakpoint("kfree")
    gdb.close()
    with pytest.raises(ZeroDivisionError), bp:  # and not that the breakpoint cannot be deleted
        raise ZeroDivisionError


def test_a_condition_has_gdb_s_names_or_armprobe_s(gdb: GdbSession) -> None:
    first = gdb.breakpoint("kmalloc", condition="x0 > 1 && x0 < 0x1000")
    assert first.condition == "$x0 > 1 && $x0 < 0x1000"
    assert gdb.breakpoint("kfree", condition="$x0 == 0").condition == "$x0 == 0"
    assert gdb.breakpoint("kfree", condition="p == 0 && x1").condition == "p == 0 && $x1"  # p is kfree's argument
    gdb.cont()
    gdb.expect_stop(breakpoint=first)
    assert 1 < gdb.registers["x0"] < 0x1000
    with pytest.raises(GdbError, match='No symbol "nosuch" in current context'):
        gdb.breakpoint("kfree", condition="nosuch")
    with pytest.raises(GdbError, match="A syntax error"):
        gdb.breakpoint("kfree", condition="x0 >")


def test_an_unknown_place_is_refused_unless_it_may_be_pending(gdb: GdbSession) -> None:
    with pytest.raises(GdbError, match='Function "no_such_function" not defined'):
        gdb.breakpoint("no_such_function")
    assert "No breakpoints" in gdb.execute("info breakpoints")
    bp = gdb.breakpoint("no_such_function", pending=True)
    assert bp.pending
    assert bp.address is None


def test_frames_are_those_of_backtrace(gdb: GdbSession) -> None:
    with gdb.breakpoint("kfree"):
        gdb.continue_to_stop()
    frames = gdb.frames()
    assert [frame.level for frame in frames] == list(range(len(frames)))
    assert [frame.function for frame in frames] == re.findall(
        r"^#\d+ +(?:0x\w+ in )?(\w+) \(", gdb.execute("backtrace"), re.MULTILINE
    )
    top = frames[0]
    assert (top.address, top.function, top.file) == (gdb.register("pc"), "kfree", "kernel/slab.c")
    assert top.line is not None
    assert "virt_to_page(p)" in SLAB.read_text().splitlines()[top.line - 1]
    assert int(top.args["p"], 16) == gdb.register("x0")
    assert re.fullmatch(r"<GdbFrame 0 0x[0-9a-f]+ kfree kernel/slab\.c:\d+>", repr(top))
    assert gdb.frames(limit=2) == frames[:2]
    assert gdb.frames(limit=0) == []


def test_variables_are_those_of_the_selected_frame(gdb: GdbSession) -> None:
    with gdb.breakpoint("kfree"):
        gdb.continue_to_stop()
    assert gdb.variables()["page"] == "<optimized out>"
    assert int(gdb.variables()["p"], 16) == gdb.register("x0")
    gdb.execute("up")
    assert "p" not in gdb.variables()
    assert gdb.variables()["w"].endswith("<workload>")


def test_registers_are_a_mapping(gdb: GdbSession, session: Session) -> None:
    with gdb.breakpoint("kfree"):
        gdb.continue_to_stop()
    registers = gdb.registers
    gdb.registers["x0"] = 0xFFFF_8000_0000_1234
    assert session.machine.registers["x0"] == registers["x0"] == 0xFFFF_8000_0000_1234
    registers["x1"] = -1
    registers["w2"] = 7
    assert (session.machine.registers["x1"], registers["x2"]) == (2**64 - 1, 7)
    assert {"x0", "sp", "pc", "cpsr"} < {*registers}
    assert "v0" not in list(registers)
    assert dict(registers)["x0"] == registers["x0"]
    assert "nosuch" not in registers
    with pytest.raises(KeyError, match="gdb knows no register 'nosuch'"):
        registers["nosuch"] = 1
    assert gdb.evaluate("$nosuch") == "void"
    with pytest.raises(GdbError, match="not one number"):
        assert registers["v0"]
    with pytest.raises(GdbError, match=r"[Nn]umeric constant too large"):
        registers["x0"] = 1 << 64


def test_memory_is_written(gdb: GdbSession, session: Session) -> None:
    with gdb.breakpoint("kfree"):
        gdb.continue_to_stop()
    address, data = gdb.registers["x0"], bytes(range(256)) * 40  # longer than a packet
    gdb.write_memory(address, data)
    gdb.write_memory(address, b"")
    assert session.machine.memory.read(address, len(data)) == data == gdb.read_memory(address, len(data))
    with pytest.raises(GdbError, match="Cannot access memory at address 0x10"):
        gdb.write_memory(0x10, b"x")


def test_mi_gives_the_results_and_gdb_s_message(gdb: GdbSession) -> None:
    with gdb.breakpoint("kfree") as bp:
        gdb.mi("-exec-continue")
        gdb.expect_stop(breakpoint=bp)
    assert gdb.mi("-stack-info-depth") == {"depth": str(len(gdb.frames()))}
    assert gdb.mi("data-evaluate-expression 6*7") == {"value": "42"}
    with pytest.raises(GdbError, match="Undefined MI command: nosuch"):
        gdb.mi("-nosuch")
    with pytest.raises(GdbError, match="one command at a time"):
        gdb.mi("-gdb-version\n-gdb-exit")


def test_another_stop_than_expected_is_an_error_with_the_transcript(gdb: GdbSession) -> None:
    bp = gdb.breakpoint("kfree")
    gdb.cont()
    with pytest.raises(UnexpectedStop) as caught:
        gdb.expect_stop(function="kmalloc", reason="breakpoint-hit")
    message = str(caught.value)
    assert message.startswith(
        "expected a stop (reason breakpoint-hit, function kmalloc), and the machine has stopped otherwise: "
        f"breakpoint-hit, number 1 at {bp.address:#x} in kfree\n"
    )
    lines = message.splitlines()[2:]
    assert any(re.fullmatch(r"> \d+-exec-continue", line) for line in lines)
    assert any(line.startswith("*stopped") for line in lines)
    assert any(line.startswith("~Breakpoint 1, kfree") for line in lines)
    assert caught.value.stop.breakpoint == 1
    assert repr(caught.value.stop) == f"<GdbStop breakpoint-hit, number 1 at {bp.address:#x} in kfree>"
    bp.delete()
    gdb.cont()
    with pytest.raises(GdbTimeout, match=r"(?s)expected a stop \(any\): waited 0.3 s for the machine.*exec-continue"):
        gdb.expect_stop(timeout=0.3)


def test_a_watchpoint_is_a_breakpoint_by_its_number(gdb: GdbSession) -> None:
    with gdb.breakpoint("kfree"):
        gdb.continue_to_stop()
    gdb.execute("watch *(long *) $sp")
    gdb.cont()
    assert gdb.expect_stop(reason="watchpoint-trigger", breakpoint=2).raw["wpt"]["number"] == "2"


def test_the_transcript_is_bounded(gdb: GdbSession) -> None:
    for _ in range(20):
        gdb.execute("info registers")
    with pytest.raises(GdbError) as caught:
        gdb.execute(f"echo-not {'x' * 10_000}")
    lines = caught.value.transcript.splitlines()
    assert len(lines) == 50
    assert max(map(len, lines)) < 310
    assert 'Undefined command: "echo-not"' in lines[-1]


def test_what_a_running_machine_refuses(gdb: GdbSession) -> None:
    bp = gdb.breakpoint("kfree", condition="x0 == 1")
    gdb.cont()
    assert bp.hits == 0
    for refused in (gdb.frames, gdb.variables, bp.delete, lambda: gdb.registers["x0"], lambda: gdb.breakpoint("kfree")):
        with pytest.raises(GdbError, match="running"):
            refused()
    assert re.fullmatch("<GdbSession unix:.*, the machine runs>", repr(gdb))
    assert repr(gdb.registers) == "<GdbRegisters>"
    assert gdb.interrupt().signal == "SIGINT"
    bp.delete()
