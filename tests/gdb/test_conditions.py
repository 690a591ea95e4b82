# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions and dprintf evaluated in the stub, against gdb's own evaluation of the same."""

import re

import pytest

from armprobe.clients import GdbError
from armprobe.commands import GdbSession, Session
from armprobe.probes import Stage
from armprobe.stub import GuestView
from armprobe.stub.agent import Breakpoint
from tests.waiting import wait_until

pytestmark = pytest.mark.sample(of="files")

EXPRESSIONS = [
    "size > 300",
    "(int) size % 7 == 3 || size < 40",
    "size & 1 && !(size & 2)",
    "workload.random % 3 == 1",
    "(unsigned char) workload.random == workload.random % 256",
    "*(int *) $sp >= 0",
    "$x30 != $x0 && $pc > 16 && $sp != $x30",
    "(short) (size * 12345) / -7 > 100",
    "workload.round == 0 ? size > 500 : size < 500",
    "(size << 60 >> 62) == 3",
    "((unsigned long) $sctlr_el1 & 1) == 1 && (size ^ 0x55) > 400",
]


def at_the_first_round(gdb: GdbSession) -> None:
    gdb.execute("tbreak workload_round")
    gdb.continue_to_stop()


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.sample
def test_the_stub_and_gdb_agree(gdb: GdbSession, session: Session, expression: str) -> None:
    at_the_first_round(gdb)
    start = session.machine.snapshot()
    stops: dict[str, list[int]] = {}
    for where in ("host", "target"):
        session.machine.restore(start)
        gdb.execute("flushregs")
        gdb.execute(f"set breakpoint condition-evaluation {where}")
        gdb.execute("delete")
        gdb.execute(f"break *kmalloc if {expression}")
        gdb.execute("tbreak list_round")
        stops[where] = []
        while gdb.continue_to_stop().function == "kmalloc":
            stops[where].append(session.machine.instructions)
        if where == "target":
            assert "(target evals)" in gdb.execute("info breakpoints")
    assert stops["host"] == stops["target"]
    assert stops["host"]


def test_a_false_condition_costs_no_packet(gdb: GdbSession, session: Session) -> None:
    at_the_first_round(gdb)
    gdb.execute("break kfree if $pc == 0")
    gdb.execute("tbreak *list_round")
    gdb.execute("set debug remote 1")
    said = gdb.continue_to_stop().console
    gdb.execute("set debug remote 0")
    assert gdb.register("pc") == int(gdb.evaluate("(unsigned long) &list_round"))
    assert said.count("Sending packet: $vCont") <= 2  # from where it was, and off the breakpoint it was at


@pytest.mark.parametrize(
    "expression", ["size == 1", "*(long *) $sp == 12345 && $x30 == 0", "$sp_el1 != $sp", "($n = $n + 1) == 0"]
)
def test_a_false_condition_costs_no_python(gdb: GdbSession, monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    at_the_first_round(gdb)
    gdb.execute("tvariable $n = 0")
    asked: list[bool] = []
    evaluated = Breakpoint.__call__

    def counted(self: Breakpoint, view: GuestView) -> bool:
        asked.append(evaluated(self, view))
        return asked[-1]

    monkeypatch.setattr(Breakpoint, "__call__", counted)
    gdb.execute(f"break *kmalloc if {expression}")
    gdb.execute("break *list_round if $pc != 0")
    assert gdb.continue_to_stop().function == "list_round"
    assert asked == [True]
    assert gdb.evaluate("$n") == ("24" if "$n" in expression else "void")


def test_a_condition_that_cannot_be_evaluated_stops(gdb: GdbSession) -> None:
    at_the_first_round(gdb)
    gdb.execute("break kfree if *(int *) 0xffff900000000000 == 1")
    stop = gdb.continue_to_stop()
    assert stop.function == "kfree"
    assert "the condition of the breakpoint at 0x" in stop.console
    assert "0xffff900000000000 is not mapped" in stop.console


def test_a_condition_may_set_a_variable(gdb: GdbSession, session: Session) -> None:
    """kfree is called 24 times before the lists are (SLAB_OBJECTS), counted by the condition itself."""
    at_the_first_round(gdb)
    gdb.execute("tvariable $hits = 0")
    gdb.execute("break kfree if ($hits = $hits + 1) == 24")
    gdb.execute("tbreak list_round")
    assert gdb.continue_to_stop().function == "kfree"
    assert gdb.evaluate("$hits") == "24"
    assert gdb.continue_to_stop().function == "list_round"


def test_dprintf(gdb: GdbSession, session: Session) -> None:
    """The agent's style prints what gdb's own does."""
    at_the_first_round(gdb)
    start = session.machine.snapshot()
    said = {}
    for style in ("gdb", "agent"):
        session.machine.restore(start)
        gdb.execute("flushregs")
        gdb.execute("delete")
        gdb.execute(f"set dprintf-style {style}")
        gdb.execute(
            'dprintf *kmalloc,"<%lu %x %5d %s %#lx>\\n", $x0, (int) workload.random, (int) $x0 + 1, (char *) 0, $pc'
        )
        gdb.execute("tbreak *list_round")
        said[style] = re.findall(r"<\d.*>", gdb.continue_to_stop().console)
    assert said["gdb"] == said["agent"]
    assert len(said["gdb"]) == 24


def test_dprintf_of_strings(gdb: GdbSession) -> None:
    at_the_first_round(gdb)
    gdb.execute("set dprintf-style agent")
    gdb.execute('dprintf *strlen,"string [%s]\\n", (char *) $x0')
    gdb.execute("tbreak *strcmp")
    console = gdb.continue_to_stop().console
    assert re.search(r"string \[round 0: [0-9a-f]{8} -?\d+\n?\]", console)


def test_dprintf_goes_on_when_gdb_has_gone(gdb: GdbSession, session: Session) -> None:
    """disconnected-dprintf is on by default; the text goes to the prompt then."""
    at_the_first_round(gdb)
    notices: list[str] = []
    session.on_notice(notices.append)
    gdb.execute("set dprintf-style agent")
    gdb.execute('dprintf *kmalloc,"kmalloc(%lu)\\n", $x0')
    gdb.execute("set breakpoint always-inserted on")  # or it is taken out at each stop
    gdb.execute("break *kfree")
    gdb._process.kill()
    wait_until(lambda: not session.controlled, "the session learns that gdb is gone")
    notices.clear()
    session.run("continue until=list_round")
    said = [notice for notice in notices if notice.startswith("kmalloc(")]
    assert len(said) == 24
    session.debug_target.kill()
    session.run("continue until=list_round")
    assert [notice for notice in notices if notice.startswith("kmalloc(")] == said


def test_before_the_mmu_is_on(gdb: GdbSession) -> None:
    """A condition at an address that is not mapped yet."""
    gdb.execute("hbreak *kfree if $x0 != 0 && $sp > 0")
    stop = gdb.continue_to_stop()
    assert (stop.function, stop.reason) == ("kfree", "breakpoint-hit")
    gdb.execute("delete")
    gdb.execute("hbreak *user_main if $pc > 16")
    assert gdb.continue_to_stop().function == "user_main"


def test_dprintf_while_gdb_steps(gdb: GdbSession, session: Session) -> None:
    """What is passed in a range that gdb steps over, or in a function that it steps over, is printed as well."""
    at_the_first_round(gdb)
    gdb.execute("tbreak *slab_round")
    gdb.continue_to_stop()
    start = session.machine.snapshot()
    gdb.execute("set dprintf-style agent")
    lines = []
    for printed in (False, True):
        session.machine.restore(start)
        gdb.execute("flushregs")
        if printed:
            gdb.execute('dprintf *kmalloc,"kmalloc(%lu)\\n", $x0')
        steps = [gdb.execute("next") for _ in range(8)]
        lines.append([step.splitlines()[-1] for step in steps])
        said = "".join(steps)
    assert lines[0] == lines[1]
    assert said.count("kmalloc(") >= 1


def test_a_condition_of_a_probe(gdb: GdbSession, session: Session) -> None:
    """gdb compiles it, by the debug information, and the probe hits where gdb's own breakpoint would."""
    at_the_first_round(gdb)
    start = session.machine.snapshot()
    for expression in EXPRESSIONS:
        if "sctlr_el1" in expression:
            continue  # gdb compiles no comparison of a register with fields
        session.machine.restore(start)
        gdb.execute("flushregs")
        gdb.execute(f"break *kmalloc if {expression}")
        gdb.execute("tbreak list_round")
        stops = []
        while gdb.continue_to_stop().function == "kmalloc":
            stops.append([session.machine.registers.x[n] for n in range(31)])
        gdb.execute("delete")
        session.machine.restore(start)
        gdb.execute("flushregs")
        session.kprobes.hits.clear()
        assert f", if {expression}\n" in gdb.execute(f"kprobe kmalloc if {expression}")
        gdb.execute("tbreak list_round")
        assert gdb.continue_to_stop().function == "list_round"
        recorded = [list(hit.regs.regs) for hit in session.kprobes.hits if hit.stage is Stage.PRE]
        assert recorded == stops
        assert stops
        gdb.execute("unregister all")


def test_a_condition_of_a_probe_costs_no_packet(gdb: GdbSession, session: Session) -> None:
    at_the_first_round(gdb)
    gdb.execute("kprobe kfree stop=pre,post if $pc == 0")
    gdb.execute("kretprobe kmalloc stop=return if $x0 == 0")
    gdb.execute("tbreak *list_round")
    gdb.execute("set debug remote 1")
    said = gdb.continue_to_stop().console
    gdb.execute("set debug remote 0")
    assert gdb.register("pc") == int(gdb.evaluate("(unsigned long) &list_round"))
    assert said.count("Sending packet: $vCont") <= 2
    assert [probe.hits for probe in session.probes.values()] == [24, 24]
    assert list(session.kprobes.hits) == []


def test_a_probe_stops_where_its_condition_holds(gdb: GdbSession) -> None:
    at_the_first_round(gdb)
    gdb.execute("kretprobe kmalloc stop=return if $x0 & 0x80")
    gdb.continue_to_stop()
    assert (gdb.evaluate("$_stage"), gdb.evaluate("(unsigned long) $_retval & 0x80")) == ('"return"', "128")
    gdb.execute("kprobe kfree stop=pre if p == 0 || *(int *) 0xffff900000000000")
    said = gdb.continue_to_stop().console + gdb.continue_to_stop().console
    assert "kprobe kfree: stage pre, hit 1; its condition cannot be evaluated: 0xffff900000000000 is not mapped" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kprobe kmalloc if nosuch > 3", 'gdb cannot compile the condition: No symbol "nosuch" in current context'),
        (
            "kprobe kmalloc if $w0 < 0",
            "'w0' is a pseudo-register.*monitor kprobe kmalloc if .w0 < 0 takes armprobe's own",
        ),
        ("kprobe kmalloc+4 if size > 3", "for the entry of a function, which kmalloc\\+4 is not"),
        ("kprobe vfs_* if $x0", "for the entry of a function, which vfs_\\* is not"),
        ("kretprobe kmalloc if size > 3", "size is gone when the function returns: use \\$x0, the result, or at=entry"),
        ("kprobe nosuch if $x0", 'Function "nosuch" not defined'),
        ("kprobe kmalloc if", "if needs CONDITION after it"),
    ],
)
@pytest.mark.sample
def test_a_condition_that_gdb_cannot_compile(gdb: GdbSession, session: Session, line: str, said: str) -> None:
    with pytest.raises(GdbError, match=said):
        gdb.execute(line)
    assert not session.probes
    if "w0" in line or "+4" in line:
        assert gdb.execute(f"monitor {line.replace('size', 'x0')}").startswith("kprobe 1: kmalloc")


def test_what_a_probe_prints(gdb: GdbSession) -> None:
    """The condition is gdb's, what is printed is armprobe's."""
    at_the_first_round(gdb)
    assert gdb.execute('kprobe kmalloc if size > 600 print "%lu bytes", x0').endswith(
        ', if size > 600, prints "%lu bytes", x0\n'
    )
    gdb.execute("tbreak list_round")
    gdb.continue_to_stop()
    sizes = re.findall(r"kmalloc: .kmalloc.0x0/0x[0-9a-f]+. (\d+) bytes", gdb.execute("kprobe-trace"))
    assert sizes
    assert all(int(size) > 600 for size in sizes)
