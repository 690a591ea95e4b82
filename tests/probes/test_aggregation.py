# SPDX-License-Identifier: GPL-2.0-or-later
"""Aggregated probes, optimised and ordinary, against what a handler in Python counts in an equal run."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.commands.program import SessionScope
from armprobe.expressions import Condition, Value
from armprobe.machine.native.aggregate import AggregateTable
from armprobe.probes import Aggregation, Kprobe, Kprobes, Kretprobe, Linear, ProbeError, Special, Stage
from armprobe.probes.kprobe import OPTIMIZED

RUN = 400_000  # instructions


def value(session: Session, text: str, stage: Stage) -> Value:
    return Value.compile(text, SessionScope(session, stage))


def log2_bucket(number: int) -> tuple[int | None, int]:
    """As bpftrace's hist(): the powers of two, 0, and the negative."""
    if number < 0:
        return None, -1
    return (0, 0) if number == 0 else (1 << number.bit_length() - 1, (1 << number.bit_length()) - 1)


def histogram(values: list[tuple[Any, int]]) -> dict[Any, tuple[int, int, Counter[tuple[int | None, int | None]]]]:
    """Of (key, value): for each key the number of values, their sum, and the number in each bucket."""
    return {
        key: (len(own), sum(own), Counter(map(log2_bucket, own)))
        for key in {key for key, _ in values}
        for own in [[number for each, number in values if each == key]]
    }


def found(aggregation: Aggregation) -> dict[Any, tuple[int, int, Counter[tuple[int | None, int | None]]]]:
    return {
        row.key: (row.count, row.sum, Counter({(b.low, b.high): b.count for b in row.buckets if b.count}))
        for row in aggregation.counted()
    }


def run(make: Callable[[Session], Kprobe | Kretprobe], optimization: bool = True) -> Kprobe | Kretprobe:
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        session.kprobes.optimization = optimization
        probe = make(session)
        if isinstance(probe, Kretprobe):
            session.kprobes.register_kretprobe(probe)
        else:
            session.kprobes.register_kprobe(probe)
        session.machine.run(instructions=RUN)
        if probe.aggregate is not None:
            assert bool(probe.flags & OPTIMIZED) is optimization
            assert not session.kprobes.hits
        return probe


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("optimization", [True, False])
def test_values_by_key_at_an_instruction(optimization: bool) -> None:
    seen: list[tuple[int, int]] = []
    run(lambda _: Kprobe("kmalloc", pre_handler=lambda p, r: seen.append((r.regs[30], r.regs[0]))))
    probe = run(
        lambda session: Kprobe(
            "kmalloc",
            aggregate=Aggregation(value(session, "x0", Stage.PRE), value(session, "x30", Stage.PRE)),
        ),
        optimization,
    )
    assert probe.aggregate is not None
    assert len(seen) > 20
    keys = {key - (key >> 63 << 64): key for key, _ in seen}
    assert {keys[key]: row for key, row in found(probe.aggregate).items()} == histogram(seen)
    assert (probe.aggregate.lost, probe.aggregate.failed) == (0, 0)


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("optimization", [True, False])
def test_time_of_calls_by_caller(optimization: bool) -> None:
    seen: list[tuple[int, int]] = []

    def ordinary(session: Session) -> Kretprobe:
        clock = session.machine.clock

        def entered(instance: Any, _: object) -> None:
            instance.data = clock.now

        return Kretprobe(
            "kmalloc",
            entry_handler=entered,
            handler=lambda ri, r: seen.append((ri.ret_addr, (clock.now - ri.data) * 16)),
        )

    run(ordinary)
    probe = run(lambda _: Kretprobe("kmalloc", aggregate=Aggregation(Special.ELAPSED, Special.CALLER)), optimization)
    assert probe.aggregate is not None
    assert len(seen) > 20
    assert found(probe.aggregate) == histogram(seen)


def test_a_condition_selects() -> None:
    seen: list[int] = []
    run(lambda _: Kprobe("kmalloc", pre_handler=lambda p, r: seen.append(r.regs[0])))
    middle = sorted(seen)[len(seen) // 2]

    def make(session: Session) -> Kprobe:
        condition = Condition.compile(f"x0 > {middle}", SessionScope(session, Stage.PRE))
        return Kprobe("kmalloc", condition=condition, aggregate=Aggregation(key=value(session, "x0", Stage.PRE)))

    probe = run(make)
    assert probe.aggregate is not None
    assert {row.key: row.count for row in probe.aggregate.counted()} == Counter(v for v in seen if v > middle)


@pytest.mark.parametrize("optimization", [True, False])
def test_what_does_not_fit_is_lost(optimization: bool) -> None:
    probe = run(
        lambda session: Kprobe("kmalloc", aggregate=Aggregation(key=value(session, "x0", Stage.PRE), capacity=2)),
        optimization,
    )
    assert probe.aggregate is not None
    rows = probe.aggregate.counted()
    assert len(rows) == 2
    assert probe.aggregate.lost > 0
    assert sum(row.count for row in rows) + probe.aggregate.lost == probe.hits


def test_a_handler_makes_it_ordinary_and_its_table_stays(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kprobe(Kprobe("checksum_mix", aggregate=Aggregation()))
    assert probe.aggregate is not None
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    probe.pre_handler = lambda p, regs: None
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == 0
    assert [(row.key, row.count) for row in probe.aggregate.counted()] == [(None, 2)]
    probe.pre_handler = None
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    assert [(row.key, row.count) for row in probe.aggregate.counted()] == [(None, 3)]


def test_probes_may_share_a_table_and_leave_it() -> None:
    """The programs that C has of the table are not those of the probe that was optimised last."""
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        shared = Aggregation(key=value(session, "x0 >> 48", Stage.PRE))
        first = session.kprobes.register_kprobe(Kprobe("kmalloc", aggregate=shared))
        second = session.kprobes.register_kprobe(Kprobe("kfree", aggregate=shared))
        session.machine.run(instructions=RUN)
        session.kprobes.unregister(second)
        gone = second.hits
        session.machine.run(instructions=RUN)
        assert first.flags == OPTIMIZED
        assert gone > 0
        assert sum(row.count for row in shared.counted()) == first.hits + gone
        assert {row.key for row in shared.counted()} == {0, -1}


def test_a_linear_histogram() -> None:
    linear = Linear(-10, 10, 7)
    aggregation = Aggregation(Special.ELAPSED, linear=linear)
    numbers = [-(1 << 63), -11, -10, -4, -3, 3, 4, 10, 11, (1 << 63) - 1]
    for number in numbers:
        aggregation.table.add(bytes(16), number % (1 << 64))
    (row,) = aggregation.counted()
    assert [(b.low, b.high, b.count) for b in row.buckets] == [
        (None, -11, 2), (-10, -4, 2), (-3, 3, 2), (4, 10, 2), (11, None, 2)
    ]  # fmt: skip


def test_values_at_the_bounds_of_powers_of_two() -> None:
    aggregation = Aggregation(Special.ELAPSED)
    numbers = [-(1 << 63), -1, 0, (1 << 63) - 1, *(1 << n for n in range(63)), *((1 << n) - 1 for n in range(63))]
    for number in numbers:
        aggregation.table.add(bytes(16), number % (1 << 64))
    (row,) = aggregation.counted()
    assert {(b.low, b.high): b.count for b in row.buckets} == Counter(map(log2_bucket, numbers))


def test_a_full_table_of_hostile_keys() -> None:
    """Of keys in arithmetic progressions of every power of two, each is found again."""
    table = AggregateTable(1 << 12, 0)
    keys = [(n << shift & (1 << 64) - 1).to_bytes(16, "little") for shift in range(64) for n in range(1, 65)]
    for key in keys:
        table.add(key, 0)
    assert Counter({row.key: row.hits for row in table.rows()}) == Counter(keys)
    assert table.lost == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"capacity": 0},
        {"capacity": 1 << 40},
        {"value": Special.COMM},
        {"key": Special.ELAPSED},
        {"linear": Linear(0, 10, 1)},
        {"value": Special.ELAPSED, "linear": Linear(0, 10, 0)},
        {"value": Special.ELAPSED, "linear": Linear(0, 1 << 62, 1)},
        {"value": Special.ELAPSED, "capacity": 1 << 16, "linear": Linear(0, 1000, 1)},
    ],
)
def test_what_cannot_be_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ProbeError) as refused:
        Aggregation(**arguments)
    assert refused.value.errno == errno.EINVAL


def test_a_kprobe_sees_no_return(kprobes: Kprobes) -> None:
    with pytest.raises(ProbeError, match="need a kretprobe"):
        kprobes.register_kprobe(Kprobe("kfree", aggregate=Aggregation(Special.ELAPSED)))


def test_going_back_counts_what_had_been_counted(demo: machine.Machine, kprobes: Kprobes) -> None:
    """A table, like the hits that are kept, has what the guest has done up to the position that it is at."""
    demo.run(until="workload_round")
    early = kprobes.on("kmalloc", key="x0").hist("x0")
    recorded = kprobes.register_kprobe(Kprobe("kfree"))
    demo.run(instructions=50_000)
    there = demo.snapshot()
    first, hits = early.counted(), list(kprobes.hits)
    late = kprobes.on("kmalloc").count()
    demo.run(instructions=50_000)
    then = demo.snapshot()
    second, more, lost = early.counted(), list(kprobes.hits), kprobes.lost
    assert sum(row.count for row in second) > sum(row.count for row in first) > 0
    assert late.counted()
    demo.restore(there)
    assert (early.counted(), late.counted(), list(kprobes.hits)) == (first, [], hits)
    demo.run(instructions=50_000)
    assert early.counted() == second
    assert [hit._replace(number=0) for hit in kprobes.hits] == [hit._replace(number=0) for hit in more]
    demo.restore(there)
    demo.restore(then)  # and forward again
    assert (early.counted(), list(kprobes.hits), kprobes.lost) == (second, more, lost)
    assert recorded.flags == OPTIMIZED
    demo.reset()
    assert (early.counted(), list(kprobes.hits)) == ([], [])


@pytest.mark.parametrize("optimization", [True, False])
def test_lost_and_failed_hits_are_restored_too(demo: machine.Machine, kprobes: Kprobes, optimization: bool) -> None:
    demo.run(until="workload_round")
    kprobes.optimization = optimization
    small = kprobes.on("kmalloc", key="x0").count(capacity=2)
    failing = kprobes.on("kmalloc", key="*(u64 *)8").count()
    demo.run(instructions=50_000)
    state, expected = demo.snapshot(), (small.lost, failing.failed)
    assert min(expected) > 0
    demo.run(instructions=50_000)
    assert small.lost > expected[0]
    demo.restore(state)
    assert (small.lost, failing.failed) == expected
