# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions that are watched by blocks, against ordinary probes on them, with breakpoints, in an equal run."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.kernel.tasks import Task
from armprobe.machine.native.functions import FunctionSet, watch
from armprobe.probes import GraphCall, Kprobe, Kprobes, Kretprobe, ProbeError, Stage

RUN = 400_000
ROUND = "workload_round"
CALLS = ("slab_round", "kmalloc", "kmem_cache_alloc", "kmem_cache_grow", "kfree", "kmem_cache_free", "virt_to_page")


def started() -> tuple[machine.Machine, Kprobes]:
    guest = machine.load("demo", memory="16M")
    kprobes = Kprobes(guest)
    guest.run(until=ROUND)
    return guest, kprobes


def test_calls_of_all_functions() -> None:
    """A breakpoint at each function that can have one is hit as often as its function is called, and it is exact
    however the run is cut into pieces."""
    guest, kprobes = started()
    kprobes.optimization = False
    probes: dict[int, Kprobe] = {}
    refused = set()
    for function in kprobes.functions():
        try:
            probes[function.address] = kprobes.register_kprobe(Kprobe(addr=function.address, record=False))
        except ProbeError:
            refused.add(function.address)
    guest.run(instructions=RUN)
    expected = {address: probe.hits for address, probe in probes.items() if probe.hits}
    assert len(expected) > 100
    for piece in (RUN, 997):
        guest, kprobes = started()
        end = guest.instructions + RUN
        with kprobes.funccount("*") as counts:
            while guest.instructions < end:
                guest.run(instructions=min(piece, end - guest.instructions))
            found = {function.address: calls for function, calls in counts.counted()}
        assert {address: calls for address, calls in found.items() if address not in refused} == expected
        guest.run(instructions=1000)
        assert {function.address: calls for function, calls in counts.counted()} == found, "it goes on after its end"


def test_counts_beside_probes_and_steps() -> None:
    """A function with a breakpoint or a hook at its entry is counted once, also when the run stops there."""
    guest, kprobes = started()
    ordinary = kprobes.register_kprobe(Kprobe("kmalloc", pre_handler=lambda p, regs: 0))
    hooked = kprobes.register_kprobe(Kprobe("kfree"))
    stopping = kprobes.register_kprobe(Kprobe("slab_round", stop=[Stage.PRE]))
    counts = kprobes.funccount("*")
    end = guest.instructions + 100_000
    while guest.instructions < end:
        guest.run(instructions=end - guest.instructions)
        guest.step(3)
    found = {function.name: calls for function, calls in counts.counted()}
    assert found["kmalloc"] == ordinary.hits > 10
    assert found["kfree"] == hooked.hits > 10
    assert found["slab_round"] == stopping.hits > 1


def test_addresses_between_instructions_are_never_called() -> None:
    """As symbols may have them. They are not mixed up with the functions before and behind them."""
    guest, kprobes = started()
    probes = [kprobes.register_kprobe(Kprobe(name, record=False)) for name in CALLS]
    addresses = [guest.symbols[name].address for name in CALLS]
    counted = FunctionSet([address + offset for address in addresses for offset in (-2, 0, 1, 3)])
    watch(guest.core, [counted])
    guest.run(instructions=RUN)
    expected = {address: probe.hits for address, probe in zip(addresses, probes, strict=True) if probe.hits}
    assert len(expected) > 3
    assert counted.calls() == expected
    between = FunctionSet([1, 6])
    watch(guest.core, [between])
    guest.run(instructions=1000)
    assert not between.calls()


def test_a_snapshot_has_the_counts() -> None:
    guest, kprobes = started()
    counts = kprobes.funccount("k*")
    graph = kprobes.funcgraph("slab_round", depth=3)
    guest.run(instructions=50_000)
    snapshot, counted, calls = guest.snapshot(), counts.counted(), graph.calls()
    guest.run(instructions=100_000)
    later = counts.counted(), graph.calls()
    assert later != (counted, calls)
    guest.restore(snapshot)
    assert (counts.counted(), graph.calls()) == (counted, calls)
    guest.run(instructions=100_000)
    assert (counts.counted(), graph.calls()) == later
    counts.clear()
    graph.clear()
    assert not counts.counted()
    assert not graph.calls()


def tree(calls: list[GraphCall]) -> list[tuple[str, bool]]:
    return [(call.function.name, call.returns) for call in calls if call.function.name in CALLS]


def test_a_graph_is_what_kretprobes_see() -> None:
    """The entries and returns, their order and their times, down to all depths."""
    guest, kprobes = started()
    kprobes.optimization, kprobes.kept = False, 1 << 16
    for name in CALLS:
        kprobes.register_kretprobe(Kretprobe(name, maxactive=16))
    guest.run(instructions=RUN)
    hits = list(kprobes.hits)
    within = 0
    expected = []
    for hit in hits:
        root = hit.probe.name == "slab_round"
        within += root and hit.stage is Stage.ENTRY
        if within:
            expected.append((hit.probe.name, hit.stage is Stage.RETURN))
        within -= root and hit.stage is Stage.RETURN
    guest, kprobes = started()
    graph = kprobes.funcgraph("slab_round", depth=16)
    guest.run(instructions=RUN)
    assert graph.lost == graph.refused == 0
    assert tree(graph.calls()) == expected
    assert len(expected) > 500
    depth = 0
    for call in graph.calls():
        depth -= call.returns
        assert call.depth == depth
        depth += not call.returns
    roots = [call for call in graph.calls() if call.function.name == "slab_round"]
    seen = [hit for hit in hits if hit.probe.name == "slab_round"]
    # A probe's record counts the instructions before it, and so does a graph; the ticks are the same.
    assert [call.ticks for call in roots] == [hit.ticks for hit in seen][: len(roots)]


def test_the_depth_and_the_number_of_calls_are_bounded() -> None:
    guest, kprobes = started()
    whole = kprobes.funcgraph("slab_round", depth=8, calls=2)
    flat = kprobes.funcgraph("slab_round", depth=2, calls=2)
    short = kprobes.funcgraph("slab_round", depth=8, calls=2, events=100)
    guest.run(instructions=RUN)
    assert flat.complete
    assert flat.followed == 2
    assert [call for call in whole.calls() if call.depth < 2] == flat.calls()
    assert max(call.depth for call in whole.calls()) > 2
    times = [call.ticks for call in whole.calls()]
    assert times == sorted(set(times)), "two calls return at once, and fib ends in no call"
    assert short.calls() == whole.calls()[:100]
    assert short.lost == len(whole.calls()) - 100
    assert all(call.task in (None, Task("swapper/0", 0)) for call in whole.calls())


def test_a_recursive_function_is_followed_to_its_own_returns() -> None:
    """Calls that are too deep to be seen return to the same address as those that are seen."""
    guest, kprobes = started()
    whole, flat = (kprobes.funcgraph("fib", depth=depth, calls=3) for depth in (64, 2))
    guest.run(instructions=RUN)
    assert max(call.depth for call in whole.calls()) > 2
    times = [call.ticks for call in whole.calls()]
    assert times == sorted(set(times)), "two calls return at once, and fib ends in no call"
    assert [call for call in whole.calls() if call.depth < 2] == flat.calls()


def test_a_function_at_which_a_run_ends_is_counted_once() -> None:
    guest, kprobes = started()
    with kprobes.funccount("kmalloc") as counts:
        for _ in range(20):
            guest.run(until="kmalloc")
            guest.run(instructions=1)
        ((_, calls),) = counts.counted()
    assert calls == 20


def test_what_is_refused() -> None:
    guest, kprobes = started()
    with pytest.raises(ProbeError, match="no function matches 'nosuch\\*'") as refused:
        kprobes.funccount("nosuch*")
    assert refused.value.errno == errno.ENOENT
    kfree = guest.symbols["kfree"].address
    with pytest.raises(ProbeError, match="is not the entry of a function"):
        kprobes.funcgraph(kfree + 4)
    for wrong in ({"depth": 0}, {"depth": 65}, {"calls": -1}, {"events": 0}):
        with pytest.raises(ProbeError):
            kprobes.funcgraph("kfree", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimization", [True, False])
def test_stacks(optimization: bool) -> None:
    """Against the frames that Python's unwinder finds at each hit of an ordinary probe."""
    expected: dict[tuple[int, ...], int] = {}
    guest, kprobes = started()

    def walk(p: Kprobe, regs: object) -> None:
        frames = kprobes.backtrace().frames
        key = tuple(frame.pc for frame in frames[1:])
        expected[key] = expected.get(key, 0) + 1

    kprobes.register_kprobe(Kprobe("kfree", pre_handler=walk))
    guest.run(instructions=100_000)
    guest, kprobes = started()
    kprobes.optimization = optimization
    kprobes.register_kretprobe(Kretprobe("slab_round"))  # its trampoline is on the stack
    stacks = kprobes.on("kfree", key="stack").count()
    at_return = kprobes.on("kfree", key="stack").hist("elapsed")
    guest.run(instructions=100_000)
    counted = {row.key: row.count for row in stacks.counted()}
    assert counted == expected
    assert len(expected) == 4
    returned = {row.key: row.count for row in at_return.counted()}
    assert returned.keys() == counted.keys()
    assert sum(counted.values()) - sum(returned.values()) <= 1


@pytest.mark.parametrize("optimization", [True, False])
def test_a_stack_goes_on_at_an_exception_whose_record_has_a_kind(optimization: bool) -> None:
    """As in Linux since v6.13: struct frame_record_meta in struct pt_regs, whose offsets are those of v7.2's BTF."""
    guest, kprobes = started()
    kprobes.optimization = optimization
    guest.run(until="kfree")
    caller, pc, ret = guest.registers.x[30], guest.symbols["slab_round"].address + 4, guest.symbols["kmalloc"].address
    regs = guest.registers.sp - 0x800
    record, outer = regs + 0x128, regs + 0x200
    guest.memory.write(regs + 29 * 8, struct.pack("<4Q", outer, 0, 0, pc))
    guest.memory.write(outer, struct.pack("<4Q", 0, ret, 0, 0))
    guest.registers.x[29] = record
    here = guest.snapshot()
    for kind, expected in ((2, (caller, pc, ret)), (1, (caller,))):  # FRAME_META_TYPE_PT_REGS and _FINAL
        guest.restore(here)
        guest.memory.write(record, struct.pack("<3Q", 0, 0, kind))
        stacks = kprobes.on("kfree", key="stack").count()
        guest.run(instructions=1)
        assert [row.key for row in stacks.counted()] == [expected]
        kprobes.unregister_kprobes(kprobes.list())


def test_more_stacks_than_keys_are_lost() -> None:
    guest, kprobes = started()
    stacks = kprobes.on("kfree", key="stack").count(capacity=2)
    whole = kprobes.on("kfree").count()
    guest.run(instructions=100_000)
    assert len(stacks.counted()) == 2
    (all_hits,) = whole.counted()
    assert sum(row.count for row in stacks.counted()) + stacks.lost == all_hits.count
    assert stacks.lost > 0


@pytest.mark.parametrize("optimization", [True, False])
def test_instructions_of_calls(optimization: bool) -> None:
    """The demo kernel does not wait here: each tick is an instruction."""
    guest, kprobes = started()
    kprobes.optimization = optimization
    latency = kprobes.on("kmalloc").hist("elapsed")
    guest.run(instructions=100_000)
    (row,) = latency.counted()
    assert row.instructions * 16 == row.sum > 0


@pytest.mark.parametrize("optimization", [True, False])
def test_a_graph_of_what_is_called_in_place_of_a_return(
    demo: machine.Machine, add_function: Callable[..., int], optimization: bool
) -> None:
    """Its return is that of the caller, which a kretprobe follows: it returns to the trampoline."""
    add_function("inner", 0xD503201F, 0xD65F03C0)  # nop; ret
    outer = add_function("outer", 0x17FFFFFE)  # b inner
    demo.run(until="workload_round")
    kprobes = Kprobes(demo)
    kprobes.optimization = optimization
    probe = kprobes.register_kretprobe(Kretprobe("outer"))
    graph = kprobes.funcgraph("inner", depth=2)
    for _ in range(3):
        demo.call(outer)
    calls = [(call.function.name, call.returns) for call in graph.calls()]
    assert calls == [("inner", False), ("inner", True)] * 3
    assert probe.hits == 3
