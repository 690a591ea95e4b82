# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers that are read ahead of a client's questions. What is true is what the machine says when asked for one."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from armprobe import Session
from armprobe.session.debug_target import DebugTarget
from armprobe.stub.aarch64 import register_table
from armprobe.stub.read_ahead import ReadAhead
from tests.stub.fake import FakeTarget


class Counting(DebugTarget):
    """Counts how often registers are read."""

    reads = 0

    def read_registers(self, names: Sequence[str]) -> list[int]:
        self.reads += 1
        return super().read_registers(names)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


def value(reply: bytes) -> int:
    return int.from_bytes(bytes.fromhex(reply.decode()), "little")


def test_registers_asked_for_in_order_are_read_together(session: Session) -> None:
    session.machine.run(instructions=100_000)
    target = Counting(session, session.name)
    table = register_table(target.system_registers).registers
    ahead = ReadAhead(target, table)
    values = [value(ahead.read(number)) for number in range(len(table))]
    reads = target.reads
    assert values == [target.read_registers([register.source])[0] for register in table]
    assert reads < len(table) / 10


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.machine.registers.__setitem__("tpidr_el0", 0x1234_5678),
        lambda session: session.machine.run(instructions=1000),
        lambda session: session.machine.step(),
        lambda session: session.machine.reset(),
        lambda session: session.run("goto 5000"),
    ],
    ids=["a write", "a run", "a step", "a reset", "the past"],
)
def test_a_change_between_two_questions_is_seen(session: Session, change: Callable[[Session], object]) -> None:
    session.machine.run(instructions=100_000)
    target = DebugTarget(session, session.name)
    table = register_table(target.system_registers).registers
    names = [register.source for register in table]
    first = names.index("pc")
    ahead = ReadAhead(target, table)
    before = target.read_registers(names)
    for number in range(first - 4, first):
        ahead.read(number)
    change(session)
    after = target.read_registers(names)
    assert after != before
    assert [value(ahead.read(number)) for number in range(first, len(table))] == after[first:]


def test_a_target_that_counts_no_changes_is_asked_each_time() -> None:
    target = FakeTarget()
    table = register_table(target.system_registers).registers
    ahead = ReadAhead(target, table)
    for number, register in enumerate(table[:31]):
        target.registers[register.source] = number << 20
        assert value(ahead.read(number)) == number << 20
