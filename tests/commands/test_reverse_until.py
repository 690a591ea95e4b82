# SPDX-License-Identifier: GPL-2.0-or-later
"""`reverse-continue until`: to the last instruction before which a condition was true, held against breakpoints."""

import contextlib
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.machine import MachineError, StopReason

FUNCTION = "kmem_cache_free"


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Session, dict[int, int]]]:
    """A guest with a history of 1.5 million instructions, and the position of the last call for each argument."""
    with Session("demo", memory="4M") as session:
        machine, last = session.machine, {}
        machine.timeline.pacing.spacing = 400_000
        machine.run(until="workload_round")
        machine.breakpoints.add(machine.symbols[FUNCTION].address)
        while machine.instructions < 1_500_000:
            if machine.run(instructions=1_500_000 - machine.instructions).reason is StopReason.BREAKPOINT:
                last[machine.registers.x[1]] = machine.instructions
        machine.breakpoints.remove(machine.symbols[FUNCTION].address)
        yield session, last


def test_it_is_looked_for_back_to_the_start(demo: tuple[Session, dict[int, int]]) -> None:
    session, last = demo
    end = session.machine.timeline.end
    oldest = min(last, key=lambda argument: last[argument])
    assert end - last[oldest] > 500_000
    condition = f"$pc == {session.machine.symbols[FUNCTION].address:#x} && $x1 == {oldest:#x}"
    said = session.run(f"reverse-continue until {condition}")
    assert said.startswith(f"{condition} was true here at {FUNCTION} (")
    assert session.machine.instructions == last[oldest]
    session.run(f"goto {end}")
    with pytest.raises(CommandError, match="it was not true in the last 100,000 instructions"):
        session.run(f"reverse-continue within=100000 until {condition}")
    assert session.machine.instructions == end
    assert "the history begins here" in session.run("reverse-continue until $x1 == 0x1234567887654321")
    session.run(f"goto {end}")


def test_python_decides_as_the_c_core_does(demo: tuple[Session, dict[int, int]]) -> None:
    """Each kind of condition at each instruction of a part, a step at a time."""
    session, _ = demo
    machine, end = session.machine, session.machine.timeline.end
    tried = {"$x0 == 0": 0, "$sp < $x0": 0, "*(unsigned *)$x1 == 0": 0, "$x2 == 1 && $pc != $x30": 0}
    assert machine.timeline.last_true(lambda guest: guest.registers.x[0] == 0, within=20_000) is not None
    for condition in tried:
        session.run(f"goto {end}")
        session.run(f"reverse-continue within=20000 until {condition}")
        tried[condition] = machine.instructions
    stepped = dict.fromkeys(tried, 0)
    machine.timeline.go(min(tried.values()))
    while machine.instructions < end:
        registers = machine.registers
        x, pc, sp, position = registers.x, registers.pc, registers.sp, machine.instructions
        word = None
        with contextlib.suppress(MachineError):
            word = machine.memory.read(x[1], 4)
        true = x[0] == 0, sp < x[0], word == bytes(4), x[2] == 1 and pc != x[30]
        stepped |= {condition: position for condition, holds in zip(stepped, true, strict=True) if holds}
        machine.step()
    assert stepped == tried


def test_what_it_finds_is_bad_input(demo: tuple[Session, dict[int, int]]) -> None:
    session, _ = demo
    here = session.machine.instructions
    for line, words in (
        ("reverse-continue within=1000", "give one, with until"),
        ("reverse-continue within=1000 until nosuch == 1", "nosuch"),
    ):
        with pytest.raises(CommandError, match=words):
            session.run(line)
    assert session.machine.instructions == here


def test_an_error_of_the_function_ends_the_search(demo: tuple[Session, dict[int, int]]) -> None:
    session, _ = demo
    here = session.machine.instructions

    def fails(_: object) -> bool:
        raise ValueError("of the user's")

    with pytest.raises(ValueError, match="of the user's"):
        session.machine.timeline.last_true(fails)
    assert session.machine.instructions == here
