# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes being hit: what handlers see, what they can change, and that the guest does not notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Kprobe, Kprobes, PtRegs, Stage

RET = 0xD65F03C0
DAIF = 0x3C0


def run_to_report(m: machine.Machine) -> str:
    """Run until the workload has checked itself; what it printed."""
    printed = m.console.read()
    for _ in range(200):
        m.run(instructions=1_000_000)
        printed += m.console.read()
        if b"ok" in printed or b"MISMATCH" in printed:
            return printed.decode()
    raise AssertionError(f"no report in 200 million instructions: {printed!r}")


PCREL = [
    "adr", "adrp", "ldr_literal", "ldr_literal_w", "ldrsw_literal", "b", "bl", "bcond", "cbz", "cbnz", "tbz", "tbnz",
    "ret", "br", "blr", "blr_x30",
]  # fmt: skip


def test_the_workload_is_right_with_a_probe_on_every_kind_of_instruction(
    demo: machine.Machine, kprobes: Kprobes
) -> None:
    probes = [kprobes.register_kprobe(Kprobe(f"pcrel_{name}")) for name in PCREL]
    once_a_round = kprobes.register_kprobe(Kprobe("pcrel_round"))
    others = [kprobes.register_kprobe(Kprobe(name, record=False)) for name in ("kfree", "cmp_u32", "strlen", "memset")]
    report = run_to_report(demo)
    assert "MISMATCH" not in report
    assert once_a_round.hits > 100
    # The last round may not be over.
    for probe in probes:
        assert once_a_round.hits - 1 <= probe.hits <= once_a_round.hits, probe
    assert all(probe.hits > once_a_round.hits for probe in others[:2])
    assert not any(probe.nmissed for probe in (*probes, *others))


@pytest.mark.sample(of="tests")
def test_a_wrong_result_is_noticed(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The workload's check is able to fail: what a handler writes reaches the guest."""

    def lie(probe: Kprobe, regs: PtRegs) -> None:
        regs.regs[1] += 1

    kprobes.register_kprobe(Kprobe("checksum_mix", pre_handler=lie))
    assert "MISMATCH" in run_to_report(demo)


def test_pt_regs_at_pre_and_post(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Against what the CPU has at that instruction when there is no probe."""
    kfree = demo.symbols["kfree"].address
    snapshot = demo.snapshot()
    demo.run(until=kfree)
    before = [demo.registers[name] for name in (*(f"x{i}" for i in range(31)), "sp", "pc", "pstate")]
    demo.step()
    after = [demo.registers[name] for name in (*(f"x{i}" for i in range(31)), "sp", "pc", "pstate")]
    demo.restore(snapshot)
    seen: list[list[int]] = []
    context: list[int] = []

    def look(regs: PtRegs) -> None:
        seen.append([*regs.regs, regs.sp, regs.pc, regs.pstate])
        context.append(demo.core.context.el)

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        look(regs)

    def post(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        look(regs)
        assert flags == 0

    kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre, post_handler=post, stop=[Stage.POST]))
    stop = demo.run()
    assert stop.reason is StopReason.PROBE
    assert seen == [before, after]
    assert [[*h.regs.regs, h.regs.sp, h.regs.pc, h.regs.pstate] for h in kprobes.hits] == [before, after]
    assert [h.stage for h in kprobes.hits] == [Stage.PRE, Stage.POST]


def test_the_slot_runs_with_exceptions_masked(
    demo: machine.Machine, kprobes: Kprobes, code: Callable[..., int]
) -> None:
    """v6.1 sets all of DAIF for the slot, whatever they were, and puts them back."""
    seen = []
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    assert probe.site is not None
    demo.run(until="insn_nop")
    daif = demo.registers.pstate & DAIF
    demo.run(until=probe.site.slot)
    seen.append(demo.registers.pstate & DAIF)
    assert demo.memory.u32(demo.registers.pc) == 0xD503201F
    assert demo.memory.u32(demo.registers.pc + 4) == 0xD42000C0
    demo.run(instructions=1)
    assert demo.registers.pc == demo.symbols["insn_nop"].address + 4
    assert seen == [DAIF]
    assert daif != DAIF
    assert demo.registers.pstate & DAIF == daif
    assert probe.site.addr == demo.symbols["insn_nop"].address


def test_assignments_take_effect(demo: machine.Machine, kprobes: Kprobes) -> None:
    def pre(probe: Kprobe, regs: PtRegs) -> None:
        regs.regs[0] = -1
        regs.pstate ^= 1 << 31

    probe = kprobes.register_kprobe(Kprobe("insn_nop", pre_handler=pre))
    assert demo.call("insn_nop", 5) == (1 << 64) - 1
    kprobes.unregister(probe)

    def post(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        regs.regs[0] += 10

    kprobes.register_kprobe(Kprobe("insn_nop", post_handler=post))
    assert demo.call("insn_nop", 5) == 15


def test_pre_handler_that_moves_the_pc(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Non-zero: no instruction, no post-handler, and the hit is over."""
    posts = []

    def replace(probe: Kprobe, regs: PtRegs) -> int:
        regs.regs[0] = 1234
        regs.pc = regs.regs[30]
        return 1

    def post(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        posts.append(regs.pc)

    probe = kprobes.register_kprobe(Kprobe("fib", pre_handler=replace, post_handler=post))
    older = probe
    assert demo.call("fib", 10) == 1234
    assert (posts, probe.nmissed) == ([], 0)
    newer = kprobes.register_kprobe(Kprobe("fib", pre_handler=replace))
    hits = older.hits
    assert demo.call("fib", 10) == 1234
    assert (newer.hits, older.hits) == (1, hits)  # the newest comes first and stops the rest


def test_aggregation(demo: machine.Machine, kprobes: Kprobes) -> None:
    order: list[str] = []

    def make(name: str) -> Kprobe:
        return Kprobe(
            "insn_nop",
            pre_handler=lambda p, regs: order.append(f"pre {name}"),
            post_handler=lambda p, regs, flags: order.append(f"post {name}"),
        )

    old, new = kprobes.register_kprobe(make("old")), kprobes.register_kprobe(make("new"))
    assert demo.call("insn_nop", 7) == 7
    assert order == ["pre new", "pre old", "post new", "post old"]
    order.clear()
    kprobes.disable(new)
    demo.call("insn_nop", 7)
    assert order == ["pre old", "post old"]
    order.clear()
    kprobes.enable(new)
    kprobes.unregister(old)
    demo.call("insn_nop", 7)
    assert order == ["pre new", "post new"]
    assert (old.hits, new.hits) == (2, 2)


def test_a_handler_takes_away_the_probes_behind_it(demo: machine.Machine, kprobes: Kprobes) -> None:
    """aggr_pre_handler and aggr_post_handler look at each probe's flags when its turn comes."""
    order: list[str] = []

    def probe(name: str, pre: Callable[[], object] = bool, post: Callable[[], object] = bool) -> Kprobe:
        def before(p: Kprobe, regs: PtRegs) -> None:
            order.append(f"pre {name}")
            pre()

        def after(p: Kprobe, regs: PtRegs, flags: int) -> None:
            order.append(f"post {name}")
            post()

        return kprobes.register_kprobe(Kprobe("kfree", pre_handler=before, post_handler=after))

    oldest = probe("oldest")
    older = probe("older")
    probe("newer", post=lambda: kprobes.disable(oldest))
    probe("newest", pre=lambda: kprobes.unregister_kprobes([older] if older.registered else []))
    demo.call("kfree", 0)
    assert order == ["pre newest", "pre newer", "pre oldest", "post newest", "post newer"]
    assert (older.hits, oldest.hits) == (0, 1)


@pytest.mark.parametrize("where", ["insn_nop", "pcrel_ret"], ids=["slot", "simulated"])
def test_reentry_is_missed_and_stepped_over(demo: machine.Machine, kprobes: Kprobes, where: str) -> None:
    """A handler calls the function that another probe is on, and its own."""
    results: list[int] = []
    inner_ran: list[int] = []
    inner = kprobes.register_kprobe(Kprobe(where, pre_handler=lambda p, regs: inner_ran.append(1)))
    second = kprobes.register_kprobe(Kprobe(where))

    def call(probe: Kprobe, regs: PtRegs, flags: int = 0) -> None:
        before = list(regs.regs)
        results.append(demo.call(where, 99))
        results.append(demo.call("strlen", demo.symbols["__start_rodata"].address) >= 0)
        assert list(regs.regs) == before

    outer = kprobes.register_kprobe(Kprobe("pcrel_leaf", pre_handler=call, post_handler=call))
    assert demo.call("pcrel_leaf", 5) == 15
    assert results == [99, True, 99, True]
    assert (inner_ran, inner.nmissed, second.nmissed, inner.hits) == ([], 2, 2, 0)
    assert (outer.hits, outer.nmissed, kprobes.errors) == (1, 0, [])
    assert demo.call(where, 3) == 3
    assert (inner_ran, inner.nmissed, inner.hits) == ([1], 2, 1)


def test_a_handler_that_raises_does_not_stop_the_guest(demo: machine.Machine, kprobes: Kprobes) -> None:
    told: list[tuple[object, str]] = []
    kprobes.on_error = lambda probe, error: told.append((probe, str(error)))

    def fail(probe: Kprobe, regs: PtRegs) -> None:
        raise RuntimeError("no such luck")

    probe = kprobes.register_kprobe(Kprobe("fib", pre_handler=fail))
    assert demo.call("fib", 10) == 55
    assert probe.hits == 177  # calls of a naive fib(10)
    assert told == [(probe, "no such luck")]
    assert [(e.probe, e.stage) for e in kprobes.errors] == [(probe, Stage.PRE)]


def test_a_handler_whose_call_fails(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The call ends in the middle of a re-entry; the outer hit goes on."""

    def call(probe: Kprobe, regs: PtRegs) -> None:
        demo.call("machine_power_off_not_there")

    probe = kprobes.register_kprobe(Kprobe("pcrel_leaf", pre_handler=call))
    assert demo.call("pcrel_leaf", 2) == 6
    assert demo.call("pcrel_leaf", 3) == 9
    assert (probe.hits, len(kprobes.errors)) == (2, 1)


def test_interrupted_handler_leaves_no_hit_behind(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Ctrl-C in a handler ends the run; the same instruction is hit afresh when the guest goes on."""
    raised: list[int] = []

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        if not raised:
            raised.append(1)
            raise KeyboardInterrupt

    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre, stop=[Stage.POST]))
    with pytest.raises(KeyboardInterrupt):
        demo.run()
    stop = demo.run()
    assert stop.reason is StopReason.PROBE
    assert stop.address == demo.symbols["kfree"].address + 4
    assert probe.nmissed == 0


def test_fault_in_the_slot(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The guest sees the fault at the instruction's own address, where its own handling of faults can repair it."""
    address = demo.symbols["strlen"].address
    seen: list[tuple[int, int]] = []
    stop_at = demo.symbols["do_mem_abort"].address
    # strlen's first load: find it by running up to it on a bad pointer
    load = address
    while demo.memory.u32(load) & 0xFFC00000 != 0x39400000 and demo.memory.u32(load) & 0xFFE00C00 != 0x38600800:
        load += 4
        assert load < address + 0x40
    probe = kprobes.register_kprobe(
        Kprobe(addr=load, pre_handler=lambda p, regs: seen.append((regs.pc, regs.pstate & DAIF)))
    )
    demo.registers.x[0] = 0xDEAD_0000
    demo.registers.x[30] = 0
    demo.registers.pc = address
    daif = demo.registers.pstate & DAIF
    stop = demo.run(until=stop_at, instructions=1000)
    assert stop.reason is StopReason.UNTIL
    assert demo.registers["elr_el1"] == load
    assert demo.registers["spsr_el1"] & DAIF == daif
    assert seen == [(load, daif)]
    assert probe.hits == 1
    # The hit is over: another is handled, not missed.
    other = kprobes.register_kprobe(Kprobe("insn_nop"))
    demo.call("insn_nop", 1)
    assert (other.hits, other.nmissed) == (1, 0)


def test_breakpoints_of_the_guests_own_reach_the_guest(
    demo: machine.Machine, kprobes: Kprobes, code: Callable[..., int]
) -> None:
    kprobes.register_kprobe(Kprobe("kfree"))
    for word in (0xD4200080, 0xD42000C0):  # BRK #4, BRK #6
        where = code(word, RET)
        saved = demo.snapshot()
        demo.registers.pc = where
        stop = demo.run(until="brk_handler", instructions=1000)
        assert stop.reason is StopReason.UNTIL
        assert demo.registers["elr_el1"] == where
        demo.restore(saved)


def test_hits_in_the_midst_of_interrupts(demo: machine.Machine, kprobes: Kprobes) -> None:
    """A probe in the timer's interrupt handler, and the tick still ticks."""
    probe = kprobes.register_kprobe(Kprobe("tick_periodic"))
    start = demo.clock.seconds
    demo.run(instructions=20_000_000)
    expected = (demo.clock.seconds - start) * 250
    assert abs(probe.hits - expected) <= 1


def test_condition(demo: machine.Machine, kprobes: Kprobes) -> None:
    asked: Counter[Stage] = Counter()

    def even(stage: Stage, regs: PtRegs) -> bool:
        asked[stage] += 1
        return regs.regs[0] % 2 == 0

    probe = kprobes.register_kprobe(Kprobe("insn_nop", condition=even))
    for i in range(6):
        demo.call("insn_nop", i)
    assert [h.regs.regs[0] for h in kprobes.hits if h.stage is Stage.PRE] == [0, 2, 4]
    assert [h.number for h in kprobes.hits if h.stage is Stage.POST] == [1, 3, 5]
    assert (probe.hits, probe.met, asked) == (6, 3, {Stage.PRE: 6})


def test_ring_of_hits(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.register_kprobe(Kprobe("fib"))
    demo.call("fib", 15)
    assert len(kprobes.hits) == 1000
    assert kprobes.hits[-1].number == 1973  # calls of a naive fib(15)
    counts = [hit.instructions for hit in kprobes.hits]
    assert counts == sorted(counts)
