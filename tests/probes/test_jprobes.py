# SPDX-License-Identifier: GPL-2.0-or-later
"""Jprobes, which v4.8 has (setjmp_pre_handler and longjmp_break_handler of arch/arm64/kernel/probes/kprobes.c)."""

from __future__ import annotations

import errno

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Jprobe, Kprobe, Kprobes, ProbeError, Stage
from tests.probes.test_hits import run_to_report

DAIF = 0x3C0
NAMES = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]


def test_a_jprobe_has_the_arguments_and_leaves_no_trace(demo: machine.Machine) -> None:
    demo.run(until="kmalloc")
    before = demo.snapshot()
    size, flags = demo.registers.x[0], demo.registers.x[1]
    back = demo.registers.x[30]
    demo.run(until=back)
    expected = [demo.registers[name] for name in NAMES]
    demo.restore(before)
    kprobes = Kprobes(demo, "v4.8")
    calls = []
    stacks = []

    def entry(bytes_wanted: int, gfp: int) -> None:
        calls.append((bytes_wanted, gfp))
        stacks.append((demo.registers.sp, demo.registers.pstate & DAIF))
        demo.registers.x[5] = 0x1234  # what it does to registers is undone

    sp = demo.registers.sp
    probe = kprobes.register_jprobe(Jprobe("kmalloc", entry=entry))
    demo.run(until=back)
    assert calls == [(size, flags)]
    assert stacks == [(sp, 0)]
    assert [demo.registers[name] for name in NAMES] == expected
    assert probe.hits == 1
    assert [hit.stage for hit in kprobes.hits] == [Stage.ENTRY]


def test_probes_hit_from_a_jprobe_are_missed(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    inner = kprobes.register_kprobe(Kprobe("kfree"))
    kprobes.register_jprobe(Jprobe("kmalloc", entry=lambda: demo.call("kfree", 0)))
    demo.run(until="kmalloc")
    demo.run(until="kmem_cache_alloc")
    assert (inner.hits, inner.nmissed) == (0, 1)


def test_a_jprobe_is_the_last_at_its_place_and_the_only_one(demo: machine.Machine) -> None:
    """add_new_kprobe() of v4.8: behind all kprobes, whenever they came; a second one is refused."""
    kprobes = Kprobes(demo, "v4.8")
    order: list[str] = []

    def make(name: str) -> Kprobe:
        return Kprobe(
            "kmalloc",
            pre_handler=lambda p, regs: order.append(f"pre {name}"),
            post_handler=lambda p, regs, flags: order.append(f"post {name}"),
        )

    kprobes.register_kprobe(make("old"))
    jprobe = kprobes.register_jprobe(Jprobe("kmalloc", entry=lambda: order.append("entry")))
    kprobes.register_kprobe(make("new"))
    with pytest.raises(ProbeError, match="EEXIST: kmalloc has a jprobe already"):
        kprobes.register_jprobe(Jprobe("kmalloc"))
    demo.run(until="kmalloc")
    demo.run(until=demo.symbols["kmalloc"].address + 4)
    assert order == ["pre new", "pre old", "entry", "post new", "post old"]
    kprobes.unregister(jprobe)
    kprobes.register_jprobe(Jprobe("kmalloc"))


def test_a_jprobe_whose_entry_raises(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    kprobes.register_jprobe(Jprobe("kmalloc", entry=lambda: 1 // 0))
    assert demo.run(instructions=100_000).reason is StopReason.INSTRUCTIONS
    assert [type(error.error) for error in kprobes.errors] == [ZeroDivisionError]


@pytest.mark.parametrize("how", ["unregister", "disable"])
def test_a_jprobe_that_is_taken_away_at_its_entry(demo: machine.Machine, how: str) -> None:
    """The call that is under way comes back all the same."""
    kprobes = Kprobes(demo, "v4.8")
    probe = kprobes.register_jprobe(Jprobe("kmalloc", stop=[Stage.ENTRY]))
    assert demo.run().detail.probe is probe
    getattr(kprobes, how)(probe)
    assert "MISMATCH" not in run_to_report(demo)
    assert probe.hits == 1


def test_there_are_no_jprobes_after_v4_8(demo: machine.Machine) -> None:
    with pytest.raises(ProbeError, match=r"use era v4\.8") as refused:
        Kprobes(demo, "v5.4").register_jprobe(Jprobe("kmalloc"))
    assert refused.value.errno == errno.ENOSYS


def test_a_jprobe_off_an_entry(demo: machine.Machine) -> None:
    """register_jprobes() of v4.8 checks that `entry` is the entry of a function, and takes it for the probe's place."""
    kprobes = Kprobes(demo, "v4.8")
    seen: list[int] = []
    probe = kprobes.register_jprobe(Jprobe("kmalloc+4", entry=lambda size: seen.append(size)))
    assert probe.warnings == ["kmalloc+0x4 is not the entry of a function, where its arguments are"]
    demo.call("kmalloc", 24, 0)
    assert seen == [24]


def test_a_jprobe_survives_a_snapshot(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8")
    before = demo.snapshot()
    calls = []
    kprobes.register_jprobe(Jprobe("kmalloc", entry=lambda size: calls.append(size)))
    demo.run(instructions=20_000)
    first = list(calls)
    demo.restore(before)
    calls.clear()
    assert demo.run(instructions=20_000).reason is StopReason.INSTRUCTIONS
    assert calls == first != []
