# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops as a debugger is told them: the class says why, and each has its core and its position."""

import queue
from collections.abc import Iterator

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.stub import BreakKind, BreakpointHit, Client, Interrupted, ProbeHit, Stepped, StopEvent, WatchKind
from armprobe.stub import WatchpointHit as Watched
from tests.waiting import PATIENCE

_STEPS = 40


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.debug_target.attach(Client())
        yield session


def resume(
    session: Session, step: bool = False, interrupt: bool = False, range: tuple[int, int] | None = None
) -> StopEvent:
    stops: queue.Queue[StopEvent] = queue.Queue()
    session.debug_target.resume(step, range, stops.put)
    if interrupt:
        session.debug_target.interrupt()
    return stops.get(timeout=PATIENCE)


def test_a_breakpoint_is_hit_after_as_many_instructions_as_it_takes_steps_to_get_there(session: Session) -> None:
    passed: list[int] = []
    for count in range(1, _STEPS + 1):
        stop = resume(session, step=True)
        assert isinstance(stop, Stepped)
        assert (stop.core, stop.position) == (0, count)
        passed.append(session.machine.registers.pc)
    there = next(pc for pc in reversed(passed) if passed.count(pc) == 1)  # what follows may be a loop
    session.debug_target.restart()
    session.debug_target.insert_breakpoint(BreakKind.HARDWARE, there, 4)
    assert resume(session) == BreakpointHit(kind=BreakKind.HARDWARE, position=passed.index(there) + 1)


def test_each_reason_is_a_class(session: Session) -> None:
    session.run("kprobe kfree stop=pre")
    hit = resume(session)
    assert isinstance(hit, ProbeHit)
    assert (hit.kind, hit.name, hit.function, hit.stage) == ("kprobe", "kfree", "kfree", "pre")
    assert (hit.hit, hit.stepping) == (1, False)
    assert hit.position == session.machine.instructions > 0
    session.run("unregister all")
    sp = session.machine.registers.sp
    session.debug_target.insert_watchpoint(WatchKind.WRITE, sp - 16, 8)
    watched = resume(session)
    assert isinstance(watched, Watched)
    assert (watched.kind, watched.address) == (WatchKind.WRITE, sp - 16)
    session.debug_target.remove_watchpoint(WatchKind.WRITE, sp - 16, 8)
    assert isinstance(resume(session, interrupt=True), Interrupted)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 6, 301])
def test_a_run_in_two_parts_stops_where_one_does(
    session: Session, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """The beginning is made on the debugger's thread, whether or not a breakpoint or a probe is just at its end."""
    monkeypatch.setattr("armprobe.session.debugger_run._BRIEF", length)
    whole = machine.load("demo", memory="16M")
    for each in (whole, session.machine):
        each.run("workload_round")
    loop = whole.address("memcpy") + 0x20  # the load of its loop
    whole.breakpoints.add(loop)
    whole.breakpoints.add(whole.address("kfree"))
    session.debug_target.insert_breakpoint(BreakKind.HARDWARE, loop, 4)
    session.debug_target.insert_breakpoint(BreakKind.HARDWARE, whole.address("kfree"), 4)
    for _ in range(60):
        stop = whole.run()
        assert stop.reason is machine.StopReason.BREAKPOINT
        assert resume(session) == BreakpointHit(kind=BreakKind.HARDWARE, position=whole.instructions)
        for each in (whole, session.machine):  # as a debugger does, which takes the breakpoint away for it
            each.breakpoints.remove(stop.address)
            each.step()
            each.breakpoints.add(stop.address)
        assert session.machine.registers.pc == whole.registers.pc


@pytest.mark.parametrize("length", [1, 2, 3, 100])
@pytest.mark.parametrize("breakpoint", [False, True])
def test_a_step_through_a_range_in_two_parts_ends_where_single_steps_do(
    session: Session, monkeypatch: pytest.MonkeyPatch, length: int, breakpoint: bool
) -> None:
    """The beginning is made on the debugger's thread, whether or not the range or a breakpoint ends it."""
    monkeypatch.setattr("armprobe.session.debugger_run._BRIEF_STEPS", length)
    whole = machine.load("demo", memory="16M")
    loop = whole.address("memcpy") + 0x20
    for each in (whole, session.machine):
        each.run("memcpy")
        each.run(loop)
    start, end = loop, loop + 0x14  # the whole of the loop
    whole.step()
    if breakpoint:  # which the second round of the loop comes to
        session.debug_target.insert_breakpoint(BreakKind.HARDWARE, loop, 4)
    while start <= whole.registers.pc < end and not (breakpoint and whole.registers.pc == loop):
        whole.step()
    kind = BreakpointHit if breakpoint and whole.registers.pc == loop else Stepped
    stop = resume(session, step=True, range=(start, end))
    assert (type(stop), stop.position) == (kind, whole.instructions)
    assert session.machine.registers.pc == whole.registers.pc
