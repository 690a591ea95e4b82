# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes have counted and recorded goes back with the guest, and a look at the past leaves it alone."""

import contextlib
from collections import Counter

import pytest

from armprobe import machine
from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.input import Input, InputKind
from armprobe.probes import (
    TRAMPOLINES,
    Hit,
    Kprobe,
    Kprobes,
    Kretprobe,
    KretprobeInstance,
    ProbeError,
    PtRegs,
    Stage,
)
from tests.memories import digest


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.timeline.pacing.spacing = 30_000
    guest.run(until="workload_round")
    return guest


@pytest.mark.parametrize("optimised", [True, False])
def test_counts_are_taken_back_and_come_again(demo: Machine, optimised: bool) -> None:
    kprobes = Kprobes(demo)
    kprobes.optimization = optimised
    probes = [
        kprobes.register_kprobe(Kprobe("kfree")),
        kprobes.register_kretprobe(Kretprobe("kmalloc", maxactive=1)),
        kprobes.register_kprobe(Kprobe("strlen", condition=lambda stage, regs: regs.regs[0] & 16 != 0)),
    ]
    demo.timeline.take()

    def counted() -> list[tuple[int, int, int]]:
        return [(probe.hits, probe.met, probe.nmissed) for probe in probes]

    seen = {demo.instructions: (counted(), len(kprobes.hits))}
    for _ in range(8):
        demo.run(instructions=17_001)
        seen[demo.instructions] = counted(), len(kprobes.hits)
    assert len({str(each) for each in seen.values()}) > 5
    for position in [*sorted(seen, reverse=True), *sorted(seen)]:
        demo.timeline.go(position)
        assert (counted(), len(kprobes.hits)) == seen[position]


@pytest.mark.parametrize("trampoline", TRAMPOLINES)
def test_a_trampoline_is_no_input(demo: Machine, trampoline: str) -> None:
    """It sets the PC. Going back, that happens as it did; what the user's handler did is applied."""
    kprobes = Kprobes(demo, trampoline=trampoline)
    heard: list[Input] = []
    demo.input.listeners.append(heard.append)
    calls: list[int] = []

    def handler(instance: KretprobeInstance, regs: PtRegs) -> None:
        calls.append(demo.instructions)
        if len(calls) % 3 == 0:
            regs.regs[9] = len(calls)  # which the caller does not expect to be kept

    kprobes.register_kretprobe(Kretprobe("kmalloc", handler=handler))
    demo.timeline.take()
    seen = {}
    for _ in range(6):
        demo.run(instructions=17_001)
        seen[demo.instructions] = list(demo.core.load().x), digest(demo.ram.data)
    assert [(each.kind, each.where) for each in heard] == [(InputKind.HANDLER, "x9")] * (len(calls) // 3)
    assert len(calls) > 10
    called = len(calls)
    for position in [*sorted(seen, reverse=True), *sorted(seen)]:
        demo.timeline.go(position)
        assert (list(demo.core.load().x), digest(demo.ram.data)) == seen[position]
    assert len(calls) == called


def test_the_text_at_a_checkpoint_is_that_of_the_first_run(demo: Machine) -> None:
    """Optimised probes have no breakpoints in it, but for those that come after as many as there are hooks for."""
    kprobes = Kprobes(demo)
    for name in ("kmalloc", "kfree", "strlen", "cmp_u32", *(symbol.name for symbol in kprobes.functions()[:40])):
        with contextlib.suppress(ProbeError):  # not every function can be probed
            kprobes.register_kprobe(Kprobe(name))
    demo.run(instructions=20_001)
    demo.timeline.take()
    position, seen = demo.instructions, digest(demo.ram.data)
    demo.run(instructions=1000)
    demo.timeline.go(position)
    assert digest(demo.ram.data) == seen


def test_questions_about_the_past_count_nothing(demo: Machine) -> None:
    kprobes = Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    demo.run(instructions=50_000)
    before = probe.hits, len(kprobes.hits)
    demo.timeline.last_write(demo.registers.sp, 8)
    demo.timeline.calls("kmalloc")
    assert (probe.hits, len(kprobes.hits)) == before


class Calls:
    """Handlers that note that they were called."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pre(self, probe: Kprobe, regs: PtRegs) -> None:
        self.names.append("pre")

    def post(self, probe: Kprobe, regs: PtRegs, flags: int) -> None:
        self.names.append("post")

    def returned(self, instance: KretprobeInstance, regs: PtRegs) -> None:
        self.names.append("return")


def stops(guest: Machine, count: int, ask: bool) -> list[tuple[str, int, int, int]]:
    seen = []
    for _ in range(count):
        stop = guest.run()
        assert stop.reason is StopReason.PROBE
        if ask:
            guest.timeline.last_write(guest.registers.sp, 8)
        seen.append((str(stop), guest.instructions, guest.registers.pc, guest.registers.x[0]))
    return seen


def test_a_question_comes_back_to_the_stage_of_a_stop() -> None:
    """The stages that the guest stops at are those of a guest that nobody asked anything, and handlers run once."""
    runs = []
    for ask in (False, True):
        guest = machine.load("demo", memory="4M")
        guest.timeline.pacing.spacing = 30_000
        guest.run(until="workload_round")
        kprobes, called = Kprobes(guest), Calls()
        kprobes.register_kprobe(
            Kprobe("kmem_cache_alloc", pre_handler=called.pre, post_handler=called.post, stop={Stage.PRE, Stage.POST})
        )
        kprobes.register_kretprobe(Kretprobe("kmalloc", handler=called.returned, stop={Stage.ENTRY, Stage.RETURN}))
        runs.append((stops(guest, 40, ask), called.names))
    assert runs[0] == runs[1]
    assert set(runs[0][1]) == {"pre", "post", "return"}


def test_so_does_one_at_a_stop_of_the_past(demo: Machine) -> None:
    kprobes = Kprobes(demo)
    kprobes.register_kprobe(Kprobe("kfree", stop={Stage.PRE, Stage.POST}))
    demo.timeline.take()
    for _ in range(6):
        demo.run()
    for _ in range(3):
        stop = demo.timeline.reverse_continue()
        assert isinstance(stop.detail, Hit)
        place = demo.instructions, demo.registers.pc
        demo.timeline.last_write(demo.registers.sp, 8)
        assert (demo.instructions, demo.registers.pc) == place
        other = demo.run().detail  # the next stage, not this one again
        assert isinstance(other, Hit)
        assert other.stage is not stop.detail.stage
        demo.timeline.reverse_continue()


def test_stops_at_one_position_are_found_going_back(demo: Machine) -> None:
    """Those of probes on a function, and of breakpoints there and behind its first instruction, in reverse."""
    kprobes, forward = Kprobes(demo), []
    for function in ("kmalloc", "kfree"):
        kprobes.register_kprobe(Kprobe(function, stop={Stage.PRE, Stage.POST}))
        kprobes.register_kretprobe(Kretprobe(function, stop={Stage.ENTRY, Stage.RETURN}))
        kprobes.register_kprobe(Kprobe(function, stop={Stage.PRE}))
        kprobes.register_kprobe(Kprobe(function, stop={Stage.POST}))
        for address in (demo.symbols[function].address, demo.symbols[function].address + 4):
            demo.breakpoints.add(address)

    def seen(stop: Stop) -> tuple[int, StopReason, int, object, object]:
        hit = stop.detail
        return demo.instructions, stop.reason, stop.address, getattr(hit, "probe", None), getattr(hit, "stage", None)

    for _ in range(40):
        forward.append(seen(demo.run()))
    assert max(Counter(position for position, *_ in forward).values()) > 1
    demo.run(instructions=1)
    for expected in reversed(forward):
        assert seen(demo.timeline.reverse_continue()) == expected


def test_a_return_is_found_from_a_breakpoint_where_it_returns_to(demo: Machine) -> None:
    """The guest is at one position at both, and goes on from the return to the breakpoint."""
    kprobes, called, forward = Kprobes(demo), Calls(), []
    kprobes.register_kretprobe(Kretprobe("kfree", handler=called.returned, stop={Stage.RETURN}))
    demo.run()
    demo.breakpoints.add(demo.registers.pc)
    for _ in range(8):
        stop = demo.run()
        forward.append((demo.instructions, stop.reason, stop.address))
    assert max(Counter(position for position, *_ in forward).values()) == 2
    returns = len(called.names)
    for expected in reversed(forward[:-1]):
        stop = demo.timeline.reverse_continue()
        assert (demo.instructions, stop.reason, stop.address) == expected
    for expected in forward[1:]:
        stop = demo.run()
        assert (demo.instructions, stop.reason, stop.address) == expected
    assert len(called.names) == returns


def test_the_frame_of_a_trampoline_is_not_watched(demo: Machine) -> None:
    """The guest without the probe does not write it, and what was there is put back."""
    Kprobes(demo).register_kretprobe(Kretprobe("kfree", stop={Stage.RETURN}))
    demo.run()
    frame = demo.registers.sp - 0x150  # sizeof(struct pt_regs), v6.1
    written = demo.instructions
    demo.memory.write(frame, bytes(8))
    demo.watchpoints.add("access", frame, 8)
    while (stop := demo.run()).reason is StopReason.WATCHPOINT:  # calls of the guest's own have a stack, too
        assert stop.address not in demo.scratch
    assert stop.reason is StopReason.PROBE
    write = demo.timeline.last_write(frame, 8)
    assert write is not None
    assert (write.position, write.pc) == (written, None)
