# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes in gdb at the places that gdb's `break` takes: they are where gdb puts a breakpoint."""

import re

import pytest

from armprobe.commands import GdbError, GdbSession, Session


@pytest.mark.parametrize("place", ["kernel/slab.c:102", "slab.c:84", "*0xffff800000083cc4", "*kfree+8", "*$x30"])
def test_where_break_is(gdb: GdbSession, session: Session, place: str) -> None:
    gdb.execute("tbreak *kfree")
    gdb.continue_to_stop()
    found = re.search(r"at (0x\w+)[:.]", gdb.execute(f"break {place}"))
    assert found
    gdb.execute(f"kprobe {place}")
    assert session.probes[1].addr == int(found[1], 16)


def test_the_frame_that_is_selected(gdb: GdbSession, session: Session) -> None:
    gdb.execute("tbreak *kfree")
    gdb.continue_to_stop()
    gdb.execute("up")
    gdb.execute("kprobe $pc")
    assert session.probes[1].addr == session.machine.registers["x30"]


def test_a_function_of_a_file_is_probed_at_its_entry(gdb: GdbSession, session: Session) -> None:
    gdb.execute("kretprobe kernel/slab.c:kmalloc stop=return if retval")
    gdb.execute("kprobe kernel/slab.c:kfree if p != 0")
    assert [probe.addr for probe in session.probes.values()] == [
        session.machine.symbols[name].address for name in ("kmalloc", "kfree")
    ]
    gdb.continue_to_stop()
    assert session.kprobes.hits[-1].regs.regs[0] != 0


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nosuch.c:3", "No source file named nosuch.c."),
        ("slab.c:9999", "No line 9999 in file"),
        ("*(nosuch)", 'No symbol "nosuch" in current context.'),
        ("$nosuch+", "A syntax error in expression"),
    ],
)
def test_what_gdb_does_not_find(gdb: GdbSession, place: str, message: str) -> None:
    with pytest.raises(GdbError, match=re.escape(message)):
        gdb.execute(f"kprobe {place}")


def test_completion_is_gdb_s_where_there_is_a_file(gdb: GdbSession) -> None:
    assert gdb.execute("complete kprobe kernel/sl") == gdb.execute("complete break kernel/sl").replace(
        "break", "kprobe"
    )
    assert gdb.execute("complete kretprobe slab.c:kfr") == "kretprobe slab.c:kfree\n"
    assert gdb.execute("complete kprobe kfr") == "kprobe kfree\n"


def test_patterns_are_armprobe_s(gdb: GdbSession, session: Session) -> None:
    gdb.execute("kprobe *_round")
    assert len(session.probes) == len(session.kprobes.functions("*_round"))


def test_help_has_gdb_s_names(gdb: GdbSession) -> None:
    said = gdb.execute("help kprobe")
    assert "kprobe vfs_read if $x2 > 4096 && *(u32 *)($x0 + 0x44) & 1" in said
    assert "The commands regs and kprobe-trace show them." in " ".join(said.split())
    assert "FILE:LINE" in said
    assert "Usage: kprobe-trace [COUNT]" in gdb.execute("help kprobe-trace")
