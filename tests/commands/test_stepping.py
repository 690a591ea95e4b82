# SPDX-License-Identifier: GPL-2.0-or-later
"""Running to the end of a call: nexti, until, finish."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        yield session


def test_finish_shows_what_the_call_returns(session: Session) -> None:
    """A handler of a kretprobe sees the same result."""
    seen: list[int] = []
    session.kprobes.kretprobe("kmalloc", handler=lambda instance, regs: seen.append(regs.regs[0]))
    session.ask("continue until=kmalloc")
    expected = session.machine.registers.x[30]
    session.ask("step 4")
    finished = session.ask("finish")
    assert (finished.stop.reason, finished.stop.text) == ("until", "kmalloc has returned")
    assert finished.stop.location.address == expected
    assert [finished.returned.value] == seen


@pytest.mark.parametrize("steps", [0, 3, 8])
def test_finish_ends_the_same_call_of_a_function_that_calls_itself(session: Session, steps: int) -> None:
    session.ask("continue until=fib")
    sp, back = session.machine.registers.sp, session.machine.registers.x[30]
    argument = session.machine.registers.x[0]
    assert argument > 1
    if steps:
        session.ask(f"nexti {steps}")
    finished = session.ask("finish")
    assert session.machine.registers.pc == back
    assert session.machine.registers.sp == sp
    fibonacci = [0, 1]
    while len(fibonacci) <= argument:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert finished.returned.value == fibonacci[argument]


def test_a_breakpoint_ends_finish_before(session: Session) -> None:
    session.ask("continue until=slab_round")
    session.ask("b kfree")
    finished = session.ask("finish")
    assert (finished.stop.text, finished.returned) == ("breakpoint 1", None)


def test_nexti_goes_over_a_call(session: Session) -> None:
    stops = [session.machine.registers.pc]
    for _ in range(12):
        session.ask("ni")
        stops.append(session.machine.registers.pc)
    assert stops == [stops[0] + 4 * number for number in range(13)]  # workload_round begins with calls in a row
    with pytest.raises(CommandError, match="nexti takes a count of at least 1"):
        session.ask("ni 0")


def test_until_stops_at_the_place_or_at_the_return(session: Session) -> None:
    session.ask("continue until=slab_round")
    back = session.machine.registers.x[30]
    assert session.ask("u kmalloc").location.symbol == "kmalloc"
    session.ask("fin")
    stop = session.ask("until recursion_round")
    assert (stop.text, stop.location.address) == ("slab_round has returned", back)
    assert session.ask("i b") == ()
