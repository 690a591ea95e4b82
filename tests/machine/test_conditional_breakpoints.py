# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints that ask a function."""

from collections.abc import Callable
from typing import Final

import pytest

from armprobe import machine
from armprobe.machine import Device, Machine, StopReason
from armprobe.machine.core.core import Core
from armprobe.machine.native.program import Number, Operation, Program
from armprobe.probes import Kprobe, Kprobes
from tests.machine.conftest import CODE
from tests.machine.test_devices import READ_AND_WRITE


@pytest.fixture
def demo() -> Machine:
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_round")
    return demo


def general(machine: Machine) -> list[int]:
    return [machine.registers.x[number] for number in range(31)]


class Asked(list[int]):
    """Remembers x0 whenever it is asked, and has the machine stopped the `stop`-th time."""

    def __init__(self, stop: int = 0) -> None:
        self._stop = stop

    def __call__(self, core: Core) -> bool:
        self.append(core.context.x[0])
        return len(self) == self._stop


def plain_stop(hits: int) -> tuple[int, int, list[int]]:
    """Where an ordinary breakpoint stops the hits-th time."""
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_round")
    demo.breakpoints.add(demo.symbols["kfree"].address)
    for _ in range(hits):
        assert demo.run().reason is StopReason.BREAKPOINT
    return demo.instructions, demo.registers.pc, general(demo)


@pytest.mark.parametrize("hits", [1, 2, 100])
def test_it_stops_where_an_ordinary_one_does(demo: Machine, hits: int) -> None:
    seen: list[int] = []
    kfree = demo.symbols["kfree"].address

    def decide(core: Core) -> bool:
        assert core.context.pc == kfree
        seen.append(demo.instructions)
        return len(seen) == hits

    demo.conditional_breakpoints.add(kfree, decide)
    stop = demo.run()
    assert (stop.reason, stop.address) == (StopReason.BREAKPOINT, kfree)
    assert demo.instructions == seen[-1]
    assert (demo.instructions, demo.registers.pc, general(demo)) == plain_stop(hits)
    demo.step()
    assert demo.registers.pc == kfree + 4
    assert len(seen) == hits


def test_the_guest_does_the_same(demo: Machine) -> None:
    """Instruction for instruction, as if nobody asked."""
    other = machine.load("demo", memory="16M")
    other.run(until="workload_round")
    asked = Asked()
    for name in ("kfree", "kmalloc", "fib"):
        demo.conditional_breakpoints.add(demo.symbols[name].address, asked)
    for m in (demo, other):
        assert m.run(instructions=500_000).reason is StopReason.INSTRUCTIONS
    assert asked
    assert general(demo) == general(other)
    assert demo.instructions == other.instructions
    assert bytes(demo.ram.data) == bytes(other.ram.data)


X0: Final = Operation(Number.GENERAL, 0)
CONST: Final = 0x25  # const64, equal and end: GDB manual, "Bytecode Descriptions"
EQUAL: Final = Operation(0x13)
REF8: Final = Operation(0x17)
END: Final = Operation(0x27)


def x0_is(value: int) -> Program:
    return Program([X0, Operation(CONST, value), EQUAL, END])


def calls_of_kfree(demo: Machine, count: int) -> list[tuple[int, int, int]]:
    """The position before each call's first instruction, x0 and sp."""
    calls: list[tuple[int, int, int]] = []

    def decide(core: Core) -> bool:
        calls.append((demo.instructions, core.context.x[0], core.context.sp))
        return len(calls) == count

    start = demo.snapshot()
    demo.conditional_breakpoints.add(demo.symbols["kfree"].address, decide)
    demo.run()
    demo.conditional_breakpoints.remove(demo.symbols["kfree"].address, decide)
    demo.restore(start)
    return calls


def test_programs_say_no_without_being_asked(demo: Machine) -> None:
    """The functions at the address are asked only where one of the programs is true, and see all such hits."""
    calls = calls_of_kfree(demo, 200)
    values = [x0 for _, x0, _ in calls]
    rare = sorted(set(values), key=values.count)[:2]
    asked = Asked()
    demo.conditional_breakpoints.add(demo.symbols["kfree"].address, asked, [x0_is(value) for value in rare])
    demo.run(instructions=calls[-1][0] + 1 - demo.instructions)
    assert asked == [value for value in values if value in rare]
    assert 0 < len(asked) < len(values)


def test_programs_and_a_function_without(demo: Machine) -> None:
    calls = calls_of_kfree(demo, 50)
    kfree = demo.symbols["kfree"].address
    quiet, all_of_them = Asked(), Asked()
    demo.conditional_breakpoints.add(kfree, quiet, [x0_is(1)])
    demo.conditional_breakpoints.add(kfree, all_of_them)
    demo.run(instructions=calls[24][0] + 1 - demo.instructions)
    assert quiet == all_of_them == [x0 for _, x0, _ in calls[:25]]
    demo.conditional_breakpoints.remove(kfree, all_of_them)
    demo.run(instructions=calls[-1][0] + 1 - demo.instructions)
    assert len(quiet) == 25


def test_a_program_without_a_value_asks(demo: Machine) -> None:
    calls = calls_of_kfree(demo, 10)
    asked = Asked()
    unmapped = Program([Operation(CONST, 0xFFFF_9000_0000_0000), REF8, END])
    demo.conditional_breakpoints.add(demo.symbols["kfree"].address, asked, [unmapped])
    demo.run(instructions=calls[-1][0] + 1 - demo.instructions)
    assert asked == [x0 for _, x0, _ in calls]


def test_a_run_that_starts_where_a_program_is_false_stops_there_later(demo: Machine) -> None:
    """It is at the same stack pointer, which is how a run knows the place that it starts at."""
    calls = calls_of_kfree(demo, 200)
    first, later = next(
        (i, j)
        for i, (_, _, sp) in enumerate(calls)
        for j, (_, x0, other) in enumerate(calls)
        if j > i and sp == other and x0 not in [each for _, each, _ in calls[i:j]]
    )
    demo.breakpoints.add(demo.symbols["kfree"].address)
    for _ in range(first + 1):
        demo.run()
    demo.breakpoints.remove(demo.symbols["kfree"].address)
    assert demo.registers.x[0] == calls[first][1]
    demo.conditional_breakpoints.add(demo.symbols["kfree"].address, lambda _: True, [x0_is(calls[later][1])])
    assert demo.run().reason is StopReason.BREAKPOINT
    assert (demo.registers.x[0], demo.instructions) == (calls[later][1], calls[later][0])


def test_an_error_of_the_function_ends_the_run(demo: Machine) -> None:
    kfree = demo.symbols["kfree"].address

    def decide(core: Core) -> bool:
        demo.conditional_breakpoints.remove(kfree, decide)
        raise LookupError("on purpose")

    demo.conditional_breakpoints.add(kfree, decide)
    with pytest.raises(LookupError, match="on purpose"):
        demo.run()
    assert demo.registers.pc == kfree
    assert demo.run(instructions=1000).reason is StopReason.INSTRUCTIONS


def test_once_at_an_instruction_that_accesses_a_device(bare: Callable[..., Machine]) -> None:
    """Such an instruction is executed again, at its exact time; a condition that counts and dprintf see it once."""
    guest, asked = bare(READ_AND_WRITE), list[int]()
    guest.devices.add(Device("counter", read=lambda offset, size: 0x41, write=lambda *what: None))

    def decide(core: Core) -> bool:
        asked.append(core.context.pc)
        return False

    places = [CODE + 4 * number for number in range(6)]
    for address in places:
        guest.conditional_breakpoints.add(address, decide)
    assert guest.run().reason is StopReason.POWER_OFF
    assert asked == places[1:]  # a run is not stopped where it starts


def test_removed_and_added_while_translated(demo: Machine) -> None:
    kfree = demo.symbols["kfree"].address
    asked: list[int] = []

    def decide(core: Core) -> bool:
        asked.append(1)
        return False

    demo.run(instructions=200_000)
    demo.conditional_breakpoints.add(kfree, decide)
    demo.run(instructions=200_000)
    count = len(asked)
    assert count
    demo.conditional_breakpoints.remove(kfree, decide)
    demo.run(instructions=200_000)
    assert len(asked) == count
    with pytest.raises(KeyError):
        demo.conditional_breakpoints.remove(kfree, decide)


def test_with_a_probe_at_the_same_place(demo: Machine) -> None:
    """Each sees each hit once, and what decides sees the registers before the probe's handlers."""
    kfree = demo.symbols["kfree"].address
    asked = Asked(5)
    probe = Kprobes(demo).register_kprobe(Kprobe("kfree"))
    demo.conditional_breakpoints.add(kfree, asked)
    stop = demo.run()
    assert stop.reason is StopReason.BREAKPOINT
    assert (len(asked), probe.hits) == (5, 4)
    demo.run(instructions=100_000)
    assert len(asked) == probe.hits > 5


def test_several_at_one_place_and_an_ordinary_one(demo: Machine) -> None:
    kfree = demo.symbols["kfree"].address
    first, second = Asked(), Asked()
    demo.conditional_breakpoints.add(kfree, first)
    demo.conditional_breakpoints.add(kfree, second)
    demo.breakpoints.add(kfree)
    for _ in range(3):
        stop = demo.run()
        assert (stop.reason, stop.address) == (StopReason.BREAKPOINT, kfree)
    demo.breakpoints.remove(kfree)
    first.clear()
    second.clear()
    demo.run(instructions=100_000)
    assert len(first) == len(second) > 3


def test_where_a_run_starts_it_is_not_asked(demo: Machine) -> None:
    asked = Asked()
    demo.conditional_breakpoints.add(demo.registers.pc, asked)
    demo.run(instructions=1)
    assert not asked


def test_reading_as_the_cpu_does(demo: Machine) -> None:
    """The quick way to memory gives what the reader of page tables gives, and None where that fails."""
    for name in ("kfree", "workload", "jiffies"):
        address = demo.symbols[name].address
        assert demo.core.read_virtual(address, 40) == demo.memory.read(address, 40)
    page = demo.registers.sp & ~4095
    assert demo.core.read_virtual(page - 8, 16) == demo.memory.read(page - 8, 16)
    assert demo.core.read_virtual(0xFFFF_9000_0000_0000, 8) is None


def test_a_call_while_it_decides_is_counted_once(demo: Machine) -> None:
    """It is in the midst of a block. What follows happens later by the instructions of the call, and no others."""
    other = machine.load("demo", memory="16M")
    other.run(until="workload_round")
    counts: tuple[list[int], list[int]] = [], []
    calls: list[int] = []
    for guest, seen, calling in ((demo, counts[0], False), (other, counts[1], True)):

        def decide(core: Core, guest: Machine = guest, seen: list[int] = seen, calling: bool = calling) -> bool:
            seen.append(guest.instructions)
            if calling:
                guest.call("strlen", guest.symbols["workload_round"].address)
                calls.append(guest.instructions - seen[-1])
            return len(seen) == 20

        guest.conditional_breakpoints.add(guest.symbols["kfree"].address + 4, decide)
        assert guest.run().reason is StopReason.BREAKPOINT
    assert len(set(calls)) == 1
    assert calls[0] > 10
    assert [later - number * calls[0] for number, later in enumerate(counts[1])] == counts[0]
    assert other.instructions - demo.instructions == 20 * calls[0]
    assert other.registers.pc == demo.registers.pc
