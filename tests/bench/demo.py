# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates on the demo kernel. Each function returns what it measured by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from armprobe import machine
from armprobe.commands import Session
from armprobe.machine import Machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, Probe, PtRegs
from tests.bench import bare
from tests.bench.a64 import CALLS, TIGHT
from tests.bench.pieces import PIECES, TURNS, cpu_seconds, least

_UNREACHED = "machine_power_off"  # a function that the workload never calls


def _started() -> Machine:
    demo = machine.load("demo")
    demo.run(until="workload_round")
    return demo


def place(demo: Machine, code: bytes) -> int:
    """Put code into the guest's text, over a function that it does not call now. Gives the address.

    The machine's memory is no place for it: each block there is looked at, as it may be a slot or a trampoline.
    """
    function = demo.symbols["panic"]
    assert len(code) <= function.size
    demo.memory.write(function.address, code)
    return function.address


def instruction_rates(scale: float) -> dict[str, float]:
    """Millions of instructions a second: a loop of two, and the workload; with and without probes."""
    piece, instructions = int(100_000_000 * scale) // PIECES // TURNS, int(40_000_000 * scale) // TURNS
    demo = _started()
    tight, kprobes = place(demo, TIGHT), Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe(_UNREACHED))

    def loop() -> float:
        return cpu_seconds(lambda: demo.call(tight, piece))

    def workload() -> float:
        return cpu_seconds(lambda: demo.run(instructions=instructions))

    demo.run(instructions=10_000_000)  # translate what there is
    ways: dict[str, tuple[int, Callable[[], float]]] = {
        "bare_loop": (2 * piece, partial(bare.seconds, piece, counted=False)),
        "counted_loop": (2 * piece, partial(bare.seconds, piece, counted=True)),
        "loop": (2 * piece, loop),
        "workload": (instructions, workload),
        "loop_probe_set": (2 * piece, loop),
        "workload_probe_set": (instructions, workload),
    }
    found = dict.fromkeys(ways, 0.0)
    for _ in range(TURNS):
        for name, (count, seconds) in ways.items():
            (kprobes.enable if name.endswith("probe_set") else kprobes.disable)(probe)
            found[name] = max(found[name], count / least(seconds) / 1e6)
    return {f"{name}_mips": rate for name, rate in found.items()}


def workload_times(scale: float) -> dict[str, float]:
    """CPU time of the same instructions of the workload, by themselves and with its hottest function recorded."""
    instructions = int(40_000_000 * scale) // TURNS
    machines = {"plain": _started(), "recorded": _started()}
    probe = Kprobes(machines["recorded"]).register_kprobe(Kprobe("cmp_u32"))
    found = dict.fromkeys(machines, 0.0)
    for demo in machines.values():
        demo.run(instructions=10_000_000)  # translate what there is
    for _ in range(TURNS):
        for name, demo in machines.items():
            found[name] += cpu_seconds(partial(demo.run, instructions=instructions))
    assert probe.hits > TURNS * instructions // 1000, probe
    return {f"workload_{name}_seconds": seconds for name, seconds in found.items()}


def _reads_x0(probe: Kprobe, regs: PtRegs) -> None:
    regs.regs[0]


class _Loop:
    """Calls of kfree(0) in a loop."""

    def __init__(self, demo: Machine, n: int) -> None:
        self._demo, self._piece = demo, n // PIECES
        self._calls, self._kfree = place(demo, CALLS), demo.symbols["kfree"].address
        demo.call(self._calls, 1000, self._kfree)  # translate it

    def rate(self, probe: Probe | None = None) -> float:
        """Calls a second of CPU time. `probe` has to be hit by each."""
        if probe is not None:
            self._demo.call(self._calls, 1000, self._kfree)  # translate it with the probe
        before = probe.hits if probe is not None else 0
        took = least(lambda: cpu_seconds(lambda: self._demo.call(self._calls, self._piece, self._kfree)))
        if probe is not None:
            # Interrupts may free memory too.
            n = PIECES * self._piece
            assert n <= probe.hits - before <= 1.01 * n + 1000, f"{probe} was to be hit {n} times"
        return self._piece / took


def handler_rates(scale: float) -> dict[str, float]:
    """Hits a second of probes with handlers in Python: on kfree, called in a loop, and in the workload."""
    demo = _started()
    loop, kprobes = _Loop(demo, int(200_000 * scale)), Kprobes(demo)

    def rate(probe: Kprobe | Kretprobe) -> float:
        if isinstance(probe, Kprobe):
            kprobes.register_kprobe(probe)
        else:
            kprobes.register_kretprobe(probe)
        found = loop.rate(probe)
        kprobes.unregister(probe)
        return found

    found = {
        "kprobe_hits": rate(Kprobe("kfree", pre_handler=_reads_x0, record=False)),
        "kprobe_post_hits": rate(
            Kprobe("kfree", pre_handler=_reads_x0, post_handler=lambda p, regs, flags: None, record=False)
        ),
        "kretprobe_hits": rate(Kretprobe("kfree", handler=lambda instance, regs: regs.regs[0], record=False)),
    }
    probe = kprobes.register_kprobe(Kprobe("cmp_u32", pre_handler=_reads_x0, record=False))
    start = time.perf_counter()
    demo.run(instructions=int(5_000_000 * scale))
    found["workload_hits"] = probe.hits / (time.perf_counter() - start)
    return found


_OPTIMISED = {
    "recorded_kprobe_hits": ("kprobe kfree", None),
    "chosen_kprobe_hits": ("kprobe kfree record=pre,x0", None),
    "true_memory_hits": ("kprobe kfree if *(u64 *)sp != 0 && x0 == 0", True),
    "recorded_kretprobe_hits": ("kretprobe kfree", None),
    "counted_hits": ("count kfree", None),
    "counted_by_caller_hits": ("count kfree by caller", None),
    "latency_hits": ("latency kfree", None),
    "latency_by_caller_hits": ("latency kfree by caller", None),
    "false_x0_hits": ("kprobe kfree if x0 == 1", False),
    "false_entry_hits": ("kretprobe kfree at=entry if x0 == 1", False),
    "false_return_hits": ("kretprobe kfree if pc == 0", False),
    "false_stop_hits": ("kprobe kfree stop=pre if x0 == 1", False),
    "false_handler_hits": ("kprobe kfree if x0 == 1", False),
}
"""Probes as commands set them, and whether their condition is met. C leaves hits to Python that meet the last two."""


def optimised_rates(scale: float) -> dict[str, float]:
    """Hits a second of optimised probes on kfree, called in a loop, and the same calls without a probe."""
    with Session("demo") as session:
        session.run("continue until=workload_round")
        loop = _Loop(session.machine, int(4_000_000 * scale) // TURNS)

        def rate(metric: str) -> float:
            line, met = _OPTIMISED[metric]
            session.run(line)
            (probe,) = session.probes.values()
            if metric == "false_handler_hits":
                assert isinstance(probe, Kprobe)
                probe.conditional_handlers, probe.pre_handler = True, _reads_x0
            found = loop.rate(probe)
            left = metric in ("false_stop_hits", "false_handler_hits")
            assert left or "OPTIMIZED" in session.run("probes"), f"{line}: an ordinary probe"
            assert met is None or probe.met == (probe.hits if met else 0), f"{line}: met {probe.met} times"
            session.run("unregister all")
            return found

        unprobed = "calls_unprobed"
        found = dict.fromkeys((unprobed, *_OPTIMISED), 0.0)
        for _ in range(TURNS):
            for metric in found:
                found[metric] = max(found[metric], loop.rate() if metric == unprobed else rate(metric))
    return found
