# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to step and to return, one beside the other: hits a second, and exceptions that the CPU takes for a hit."""

from __future__ import annotations

import time

import unicorn

from armprobe import machine
from armprobe.machine import Machine
from armprobe.probes import STEPPINGS, TRAMPOLINES, Kprobe, Kprobes, Kretprobe, PtRegs
from tests.bench.a64 import CALLS
from tests.bench.demo import place

_SIMULATED = "pcrel_b"  # a function whose first instruction is a branch
_COUNTED = 200  # hits


def _reads_x0(probe: object, regs: PtRegs) -> None:
    regs.regs[0]


def _measure(demo: Machine, kprobes: Kprobes, probe: Kprobe | Kretprobe, name: str, n: int) -> tuple[float, float]:
    """Hits a second of `probe`, on the function of that name, and exceptions a hit."""
    function = demo.symbols[name].address
    calls = place(demo, CALLS)
    if isinstance(probe, Kprobe):
        kprobes.register_kprobe(probe)
    else:
        kprobes.register_kretprobe(probe)
    start = time.perf_counter()
    demo.call(calls, n, function)
    rate = n / (time.perf_counter() - start)
    assert n <= probe.hits <= n + 1000, f"{probe} was to be hit {n} times"  # interrupts may free memory too
    raised = 0

    def count(engine: unicorn.Uc, number: int, data: object) -> None:
        nonlocal raised
        raised += 1

    demo.core.engine.hook_add(unicorn.UC_HOOK_INTR, count)
    demo.call(calls, _COUNTED, function)
    # The call itself ends in one, and `direct` has a hypercall where the kernel has a branch.
    direct = isinstance(probe, Kretprobe) and kprobes.trampoline == "direct"
    return rate, (raised - 1) / _COUNTED - direct


def rates(scale: float) -> dict[str, float]:
    """Each in a machine of its own, by the rules of v6.1 but for what is named."""
    n, found = int(40_000 * scale), {}
    probes: list[tuple[str, str, dict[str, str], Kprobe | Kretprobe]] = [
        *(
            (f"step_{name}", "kfree", {"stepping": name}, Kprobe("kfree", pre_handler=_reads_x0, record=False))
            for name in STEPPINGS
        ),
        ("step_simulated", _SIMULATED, {}, Kprobe(_SIMULATED, pre_handler=_reads_x0, record=False)),
        *(
            (f"return_{name}", "kfree", {"trampoline": name}, Kretprobe("kfree", handler=_reads_x0, record=False))
            for name in TRAMPOLINES
        ),
    ]
    for what, function, design, probe in probes:
        demo = machine.load("demo")
        demo.run(until="workload_round")
        kprobes = Kprobes(demo, **design)
        found[f"{what}_hits"], found[f"{what}_exceptions"] = _measure(demo, kprobes, probe, function, n)
    return found
