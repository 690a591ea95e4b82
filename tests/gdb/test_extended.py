# SPDX-License-Identifier: GPL-2.0-or-later
"""target extended-remote: run, kill, attach and detach on the demo kernel; find and compare-sections."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import GdbSession, Session
from armprobe.probes import Kprobe
from tests.gdb.oracle import Demo


@pytest.fixture
def extended(session: Session, gdb_path: str, gdbinit: Path) -> Iterator[GdbSession]:
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit, extended=True) as gdb:
        yield gdb


def test_run_starts_the_guest_anew(extended: GdbSession, session: Session, demo: Demo) -> None:
    """Breakpoints and probes that there are stay."""
    extended.execute("break kfree")
    extended.continue_to_stop()
    executed = session.machine.instructions
    probe = session.kprobes.register_kprobe(Kprobe("kmalloc"))
    hits = []
    for _ in range(2):
        stop = extended.execute("run")
        assert "Breakpoint 1, kfree" in stop
        assert session.machine.instructions == executed
        hits.append(probe.hits)
    assert extended.register("pc") == demo.address("kfree")


def test_a_guest_that_has_ended_runs_again(extended: GdbSession) -> None:
    extended.execute("tbreak workload_round")
    extended.continue_to_stop()
    extended.execute("set $pc = machine_power_off")
    stop = extended.continue_to_stop()
    assert stop.reason == "exited-normally"
    extended.execute("tbreak workload_round")
    assert "workload_round" in extended.execute("run")


def test_detach_and_attach(extended: GdbSession, session: Session) -> None:
    extended.execute("tbreak workload_round")
    extended.continue_to_stop()
    pc = extended.register("pc")
    extended.execute("detach")
    assert not session.controlled
    extended.execute("attach 1")
    assert session.controlled
    assert extended.register("pc") == pc


def test_kill(extended: GdbSession, session: Session) -> None:
    extended.execute("tbreak workload_round")
    extended.continue_to_stop()
    extended.execute("kill")
    assert session.machine.instructions == 0
    assert not session.controlled


def test_kill_removes_events(extended: GdbSession, session: Session) -> None:
    """Their probes were removed, and they stayed: the next reset failed."""
    for line in ("event p:reading kfree", "event p:waiting kmalloc", "events enable reading"):
        session.run(line)
    session.run("events trigger reading enable_event:kprobes:waiting")
    extended.execute("kill")
    assert not session.kprobes.events.events
    assert not session.kprobes.list()
    for line in ("reset", "event p:reading kfree", "events enable reading", "continue instructions=200000"):
        session.run(line)
    assert "kfree" in session.run("trace")


def test_find(gdb: GdbSession, demo: Demo) -> None:
    """In the guest's text, against the file."""
    gdb.execute("tbreak workload_round")
    gdb.continue_to_stop()
    start, size = demo.symbols["kfree"]
    last = demo.initial(start + size - 4, 4)
    wanted = "0x" + last[::-1].hex()
    assert gdb.execute(f"find /w1 {start:#x}, +{size}, {wanted}").split()[0] in {
        f"{at:#x}" for at in range(start, start + size, 4) if demo.initial(at, 4) == last
    }
    assert "Pattern not found" in gdb.execute("find &_stext, +0x1000, 0x1122334455667788")


def test_compare_sections(gdb: GdbSession, demo: Demo) -> None:
    """By physical addresses, as gdb does it: while the MMU is off."""
    said = gdb.execute("compare-sections")
    assert said.count("matched") > 3
    assert "MIS" not in said
    virtual, physical, _ = demo.segments[0]
    gdb.execute(f"set *(int *) ({demo.address('kfree'):#x} - {virtual:#x} + {physical:#x}) = 0x12345678")
    assert "MIS-MATCHED" in gdb.execute("compare-sections .text")
