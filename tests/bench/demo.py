# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates on the demo kernel. Each function returns what it measured by name."""

from __future__ import annotations

import time

from armprobe import machine
from armprobe.commands import Session
from armprobe.machine import Machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, PtRegs
from tests.bench import ceiling
from tests.bench.a64 import CALLS, TIGHT

_UNREACHED = "machine_power_off"  # a function that the workload never calls


def _started() -> Machine:
    demo = machine.load("demo")
    demo.run(until="workload_round")
    return demo


def _place(demo: Machine, code: bytes) -> int:
    address = demo.scratch.allocate(len(code))
    demo.scratch.write(address, code)
    return address


def _run_mips(demo: Machine, instructions: int) -> float:
    start = time.perf_counter()
    demo.run(instructions=instructions)
    return instructions / (time.perf_counter() - start) / 1e6


def instruction_rates(scale: float) -> dict[str, float]:
    """Millions of instructions a second: a loop of two, and the workload; with and without probes."""
    loops, instructions = int(20_000_000 * scale), int(40_000_000 * scale)
    found = {
        "bare_loop_mips": ceiling.instructions_per_second(loops, counted=False) / 1e6,
        "counted_loop_mips": ceiling.instructions_per_second(loops, counted=True) / 1e6,
    }
    demo = _started()
    tight = _place(demo, TIGHT)

    def loop_mips() -> float:
        start = time.perf_counter()
        demo.call(tight, loops)
        return 2 * loops / (time.perf_counter() - start) / 1e6

    _run_mips(demo, instructions // 4)  # translate what there is
    found["loop_mips"] = loop_mips()
    found["workload_mips"] = _run_mips(demo, instructions)
    kprobes = Kprobes(demo)
    kprobes.register_kprobe(Kprobe(_UNREACHED, record=False))
    found["loop_probe_set_mips"] = loop_mips()
    found["workload_probe_set_mips"] = _run_mips(demo, instructions)
    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=_reads_x0, record=False))
    found["workload_probe_hit_mips"] = _run_mips(demo, instructions // 4)
    assert probe.hits
    return found


def _reads_x0(probe: Kprobe, regs: PtRegs) -> None:
    regs.regs[0]


def hit_rates(scale: float) -> dict[str, float]:
    """Hits a second: Unicorn's ceiling; kprobes and kretprobes on kfree, called in a loop; and the workload."""
    n = int(60_000 * scale)
    found = {
        "brk_pc": ceiling.brk_per_second_pc(2 * n),
        "brk_context": ceiling.brk_per_second_context(2 * n),
    }
    found["ceiling"] = max(found.values())
    demo = _started()
    calls, kfree = _place(demo, CALLS), demo.symbols["kfree"].address
    kprobes = Kprobes(demo)

    def rate(probe: Kprobe | Kretprobe) -> float:
        if isinstance(probe, Kprobe):
            kprobes.register_kprobe(probe)
        else:
            kprobes.register_kretprobe(probe)
        start = time.perf_counter()
        demo.call(calls, n, kfree)
        took = time.perf_counter() - start
        assert n <= probe.hits <= n + 1000, f"{probe} was to be hit {n} times"  # interrupts may free memory too
        kprobes.unregister(probe)
        return probe.hits / took

    start = time.perf_counter()
    demo.call(calls, n, kfree)
    found["calls_unprobed"] = n / (time.perf_counter() - start)
    found["kprobe_hits"] = rate(Kprobe("kfree", pre_handler=_reads_x0, record=False))
    found["kprobe_recorded_hits"] = rate(Kprobe("kfree", record=True))
    found["kprobe_post_hits"] = rate(
        Kprobe("kfree", pre_handler=_reads_x0, post_handler=lambda p, regs, flags: None, record=False)
    )
    found["kretprobe_hits"] = rate(Kretprobe("kfree", handler=lambda instance, regs: regs.regs[0], record=False))
    found["kretprobe_recorded_hits"] = rate(Kretprobe("kfree", record=True))
    found["share_of_ceiling"] = found["kprobe_hits"] / found["ceiling"]
    found["share_of_pc_hook"] = found["kprobe_hits"] / found["brk_pc"]

    probe = kprobes.register_kprobe(Kprobe("cmp_u32", pre_handler=_reads_x0, record=False))
    start = time.perf_counter()
    demo.run(instructions=int(5_000_000 * scale))
    found["workload_hits"] = probe.hits / (time.perf_counter() - start)
    return found | _conditions(n)


def _conditions(n: int) -> dict[str, float]:
    """Hits a second of probes whose condition is false, as commands set them."""
    lines = {
        "kprobe_false_hits": "kprobe kfree if pc == 0",
        "kprobe_false_memory_hits": "kprobe kfree if *(u32 *)sp == 0x12345678 && x0 == 0",
        "kretprobe_false_hits": "kretprobe kfree at=entry if pc == 0",
        "kretprobe_false_return_hits": "kretprobe kfree if pc == 0",
    }
    found = {}
    with Session("demo") as session:
        session.run("continue until=workload_round")
        demo = session.machine
        calls, kfree = _place(demo, CALLS), demo.symbols["kfree"].address
        for metric, line in lines.items():
            session.run(line)
            start = time.perf_counter()
            demo.call(calls, n, kfree)
            took = time.perf_counter() - start
            (probe,) = session.probes.values()
            assert n <= probe.hits <= n + 1000
            assert probe.met == 0
            found[metric] = probe.hits / took
            session.run("unregister all")
    return found
