# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints and watchpoints at the prompt, by gdb's names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.catalog import registry
from armprobe.commands.gdb_words import GDB_WORDS
from armprobe.commands.values import BreakpointRows, BreakpointsChanged, Changed, Stopped
from armprobe.machine.loaders import DEMO
from armprobe.stub import serve
from tests.stub.client import Client  # tests have no import name to go by


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        yield session


# What gdb's users type, and the command of gdb that it is short for (GDB manual, "Command Syntax" and each command).
FINGERS = {
    "c": "continue",
    "r": "run",
    "si": "step",  # which steps by instruction here
    "ni": "nexti",
    "u": "until",
    "fin": "finish",
    "n": "next",
    "s": "step-line",
    "l": "list",
    "i line": "info line",
    "set": "set",
    "until": "until",
    "b": "break",
    "br": "break",
    "tb": "tbreak",
    "p": "print",
    "x": "examine",
    "i": "info",
    "bt": "backtrace",
    "d": "delete",
    "dis": "disable",
    "en": "enable",
    "q": "quit",
    "h": "help",
    "wat": "watch",
    "i b": "info breakpoints",
}


@pytest.mark.parametrize("typed", FINGERS)
def test_what_gdb_users_type_is_never_ambiguous(typed: str) -> None:
    assert registry().named(typed.split())[0].name == FINGERS[typed]


def test_parts_of_info_may_be_shortened(session: Session) -> None:
    assert session.run("i r") == session.run("info registers")
    assert session.run("i reg") == session.run("info registers")
    machine = session.machine
    assert [each.value for each in session.ask("i r x3 $pc")] == [machine.registers.x[3], machine.registers.pc]
    with pytest.raises(CommandError, match=r"WHAT cannot be 'm': choose from machine, registers, .*, breakpoints"):
        session.ask("i m")


def test_a_condition_stops_where_it_holds(session: Session) -> None:
    """The calls are those that a handler of a probe sees."""
    sizes: list[int] = []
    with Session("demo", memory="16M") as other:
        other.run("continue until=workload_round")
        other.kprobes.kprobe("kmalloc", pre_handler=lambda probe, regs: sizes.append(regs.regs[0]))
        other.run("continue instructions=100000")
    large = [size for size in sizes if size > 500]
    assert 1 < len(large) < len(sizes)

    session.ask("b kmalloc if size > 500")
    for number, size in enumerate(large[:3], 1):
        stop = session.ask("c")
        assert (stop.reason, stop.text) == ("breakpoint", "breakpoint 1 (if size > 500)")
        assert stop.location.symbol == "kmalloc"
        assert session.machine.registers.x[0] == size
        (row,) = session.ask("i b")
        assert (row.hits, row.condition) == (number, "size > 500")


def test_a_stop_names_each_breakpoint_that_made_it(session: Session) -> None:
    for line in ("b kfree", "b kfree if p != 0", "b kfree if p == 0", "tb kfree"):
        session.ask(line)
    assert session.ask("c").text == "breakpoint 1, breakpoint 2 (if p != 0), temporary breakpoint 4"
    assert session.ask("c").text == "breakpoint 1, breakpoint 2 (if p != 0)"
    assert [(row.number, row.hits) for row in session.ask("i b")] == [(1, 2), (2, 2), (3, 0)]


def test_the_position_in_a_condition_is_that_of_the_stop(session: Session) -> None:
    with Session("demo", memory="16M") as other:
        other.run("continue until=workload_round")
        other.run("continue until=kfree")
        position = other.machine.instructions
    session.ask(f"b kfree if $_position == {position}")
    assert session.ask("continue instructions=100000").text == f"breakpoint 1 (if $_position == {position})"
    assert session.machine.instructions == position


def test_a_condition_without_a_value_stops_and_says_why(session: Session) -> None:
    session.ask("b kfree if *(u64 *)8 == 0")
    text = session.ask("c").text
    assert text.startswith("breakpoint 1, whose condition *(u64 *)8 == 0 has no value here (")
    assert "0x8" in text


def test_watchpoints_stop_before_the_access(session: Session) -> None:
    (watch,) = session.ask("watch workload").breakpoints
    symbol = session.machine.symbols["workload"]
    assert (watch.kind, watch.size, watch.location.address) == ("write", symbol.size, symbol.address)
    stop = session.ask("c")
    assert stop.reason == "watchpoint"
    hit = session.stop.detail
    before = session.machine.memory.read(hit.address, hit.size)
    assert int.from_bytes(before, "little") == hit.before
    assert stop.text == f"watchpoint 1: {hit}"
    session.ask("step")
    assert int.from_bytes(session.machine.memory.read(hit.address, hit.size), "little") == hit.value
    assert session.ask("rwatch workload+4 4").breakpoints[0].size == 4
    session.ask("delete 1")
    assert session.ask("c").text.startswith("read watchpoint 2: read of 4 bytes at ")
    assert session.ask("watch $sp").breakpoints[0].size == 8


def test_breakpoints_and_probes_are_numbered_together(session: Session) -> None:
    session.ask("kprobe kmalloc")
    session.ask("b kfree")
    session.ask("b kmalloc")
    assert session.run("dis 2") == "breakpoint 2 (kfree) is disabled\n"
    assert session.run("dis 1") == "kprobe 1 (kmalloc) is disabled\n"
    assert session.ask("c").text == "breakpoint 3"
    assert session.run("en 2") == "breakpoint 2 (kfree) is enabled\n"
    assert isinstance(session.ask("d 1"), Changed)
    assert not session.probes
    with pytest.raises(
        CommandError, match="1 is neither a probe nor a breakpoint: probes and info breakpoints list them"
    ):
        session.ask("d 2 1")
    assert session.run("d") == (
        "breakpoint 2 (kfree) is deleted: it stopped the guest 0 times\n"
        "breakpoint 3 (kmalloc) is deleted: it stopped the guest 1 time\n"
    )
    assert session.ask("i b") == ()
    assert session.ask("c instructions=20000").reason == "instructions"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("b kfree+2", "the address of an instruction is a multiple of 4, and 0x"),
        ("b nosuch", "there is no symbol 'nosuch'"),
        ("b x30", "there is no symbol 'x30': did you mean the register, $x30?"),
        ("kprobe x30", "there is no symbol 'x30': did you mean the register, $x30?"),
        ("set x0 = 5", "there is no symbol 'x0': did you mean the register, $x0?"),
        ("b kfree if nosuch", "nor has kfree an argument of that name"),
        ("b kfree if", "if needs CONDITION after it"),
        ("watch workload 0", "a watchpoint is on 1 to 4096 bytes"),
        ("watch 0x8", "is not mapped by the guest"),
        ("d x", "x is neither a probe nor a breakpoint: probes and info breakpoints list them"),
    ],
)
def test_what_cannot_be_set_is_refused(session: Session, line: str, error: str) -> None:
    with pytest.raises(CommandError) as caught:
        session.ask(line)
    assert error in str(caught.value)
    assert session.ask("i b") == ()


def test_run_starts_the_guest_again(session: Session) -> None:
    session.ask("tb workload_run")
    first = session.ask("r")
    at = session.machine.instructions
    assert first.text == "temporary breakpoint 1"
    session.ask("c instructions=5000")
    session.ask(f"b {first.location.symbol}")
    assert session.ask("r").text == "breakpoint 2"
    assert session.machine.instructions == at


def test_a_breakpoint_of_the_prompt_stops_gdb_too(session: Session) -> None:
    session.ask("tb kfree")
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        debugger.ask(b"?")
        assert debugger.ask(b"vCont;c").startswith(b"T05")
        assert session.stop.text == "temporary breakpoint 1"
        with pytest.raises(CommandError, match="gdb is in control of the guest"):
            session.ask("run")
    assert session.ask("i b") == ()


def test_values_are_of_their_types(session: Session) -> None:
    answers: dict[str, Any] = {line: session.ask(line) for line in ("b kfree", "c", "i b", "d")}
    assert [type(answer) for answer in answers.values()] == [
        BreakpointsChanged,
        Stopped,
        BreakpointRows,
        BreakpointsChanged,
    ]


def test_memory_is_named_as_in_print(session: Session) -> None:
    """By a member in C, with its size: workload.random is a u32 at offset 4 (demo kernel, workload.c)."""
    session.run("continue until=workload_round")
    at = session.machine.symbols["workload"].address + 4
    for line in ("watch workload.random", "rwatch workload->random", "awatch *&workload.random"):
        (point,) = session.ask(line).breakpoints
        assert (point.size, point.location.address) == (4, at)
    assert session.ask("watch (kfree)").breakpoints[0].size == 8  # a function has no type in its debug information
    session.run("delete")
    session.run("continue instructions=100000")
    written = session.ask("last-write workload.random")
    assert (written.address, written.size) == (at, 4)
    for line, reason in (("watch workload.rnd", "no member rnd"), ("last-write nosuch.x", "no symbol 'nosuch.x'")):
        with pytest.raises(CommandError, match=reason):
            session.run(line)


@pytest.mark.parametrize("word", GDB_WORDS)
def test_a_word_of_gdbs_says_what_does_its_work(word: str, session: Session) -> None:
    with pytest.raises(CommandError, match=re.escape(GDB_WORDS[word])):
        session.run(f"{word} 1")


@pytest.mark.parametrize("place", ["rounds.c:33", "kernel/slab.c:95", "workload.c:16", "slab.c:102"])
def test_a_source_line_is_where_gdb_has_it(session: Session, tool: Callable[[str, str], str], place: str) -> None:
    command = [tool("gdb-multiarch", "gdb-multiarch"), "-batch", "-nx", "-ex", f"break {place}", str(DEMO)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    at = re.search(r"Breakpoint 1 at (0x[0-9a-f]+)", said)
    assert at is not None, said
    (point,) = session.ask(f"break {place}").breakpoints
    assert point.location.address == int(at[1], 16)


def test_source_lines_that_are_nowhere_or_in_two_places(session: Session) -> None:
    with pytest.raises(CommandError, match=r"no instruction begins line 1 of a file slab\.c"):
        session.run("break slab.c:1")
    with pytest.raises(CommandError, match=r"main\.c:20 is at 2 addresses: name one of them: 0x\w+ in \w+, 0x"):
        session.run("break main.c:20")  # kernel/main.c and user/main.c


def test_a_watchpoint_before_memory_is_mapped() -> None:
    with Session("demo", memory="16M") as session:
        with pytest.raises(CommandError, match="before the guest has mapped it: let it run first"):
            session.run("watch workload")
        session.run("continue until=workload_run")
        assert session.ask("watch workload").breakpoints


def test_delete_all(session: Session) -> None:
    session.run("break kfree")
    session.run("break kmalloc")
    assert len(session.ask("delete all").breakpoints) == 2
    assert not session.breakpoints


def test_probes_at_addresses_in_registers(session: Session) -> None:
    """At a function's first instruction, x30 is behind the BL that called it (Arm ARM, BL)."""
    session.ask("tb kfree")
    session.ask("continue")
    kfree, caller = session.machine.registers["pc"], session.machine.registers["x30"]
    lines = ("kprobe $x30", "kprobe $pc+4", "kretprobe $pc", "count $pc", "hist $pc x0", "latency $pc", "stacks $pc")
    numbers = [session.ask(line).probe.number for line in lines]
    assert [session.probes[number].addr for number in numbers] == [caller, kfree + 4, *[kfree] * 5]
    assert session.run("decode $x30") == session.run(f"decode {caller:#x}")
    assert session.run("check $pc $x30") == session.run(f"check {kfree:#x} {caller:#x}")
    with pytest.raises(CommandError, match="there is no register 'nosuch'"):
        session.ask("kprobe $nosuch")
