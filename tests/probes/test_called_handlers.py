# SPDX-License-Identifier: GPL-2.0-or-later
"""Pre-handlers that C calls: the same as by dispatch of the exception, whatever they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.expressions import Condition
from armprobe.probes import Kprobe, Kprobes, PtRegs

from .test_optimized import Names

FUNCTION = "cmp_u32"
Handler = Callable[[Kprobes, Kprobe, PtRegs], int | None]


def _reads(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    _ = regs.regs[0]


def _changes(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    if probe.hits % 3 == 0:
        regs.regs[9] = probe.hits
        regs.pstate ^= 1 << 28  # V


def _skips(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> int:
    """Returns from the function at once."""
    if probe.hits % 4:
        return 0
    regs.regs[0], regs.pc = 0, regs.regs[30]
    return 1


def _raises(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    raise ValueError("in the handler")


def _calls(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    """The function itself is hit again, which is a miss."""
    if probe.hits % 5 == 1:
        text = kprobes.machine.symbols["checksum_mix"].address
        kprobes.machine.call(FUNCTION, text, text)


def _leaves(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    if probe.hits == 7:
        kprobes.unregister(probe)


def _disables(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    if probe.hits == 7:
        kprobes.disable(probe)


def _gets_another(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    if probe.hits == 3:
        kprobes.register_kprobe(Kprobe(FUNCTION))


def _gets_a_post_handler(kprobes: Kprobes, probe: Kprobe, regs: PtRegs) -> None:
    if probe.hits == 3:
        probe.post_handler = lambda p, r, flags: kprobes.machine.console.write(b"")


HANDLERS: list[Handler] = [
    *(_reads, _changes, _skips, _raises, _calls, _leaves, _disables, _gets_another, _gets_a_post_handler),
]


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("way", ["plain", "recorded", "conditional", "simulated"])
@pytest.mark.sample
def test_a_handler_that_is_called_by_c(handler: Handler, way: str, history: bool) -> None:
    """The reference is the machine without optimisation, in which Python handles the whole exception."""
    seen = []
    for optimization in (True, False):
        demo = machine.load("demo", memory="16M", history=history)
        demo.run(until="pcrel_round" if way == "simulated" else "workload_round")
        kprobes = Kprobes(demo)
        kprobes.optimization = optimization
        kprobes.on_error = lambda probe, error: None
        calls: list[tuple[int, ...]] = []

        def pre(
            probe: Kprobe, regs: PtRegs, kprobes: Kprobes = kprobes, calls: list[tuple[int, ...]] = calls
        ) -> int | None:
            calls.append((kprobes.machine.instructions, probe.hits, probe.nmissed, *regs.words, regs.pstate))
            return handler(kprobes, probe, regs)

        condition = Condition.compile("x0 % 3 == 0", Names(False)) if way == "conditional" else None
        probe = Kprobe(
            "pcrel_cbz" if way == "simulated" else FUNCTION,
            pre_handler=pre,
            record=way != "plain",
            condition=condition,
            conditional_handlers=way == "conditional",
        )
        kprobes.register_kprobe(probe)
        demo.run(instructions=30_000)
        assert calls
        general = list(demo.registers.x)
        counts = probe.hits, probe.nmissed, probe.met
        hits = [(str(hit), hit.general, hit.pstate) for hit in kprobes.hits]
        seen.append((calls, counts, hits, general, demo.instructions, bytes(demo.console.read())))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("optimization", [True, False])
def test_an_exception_that_ends_the_run_leaves_the_guest_before_the_instruction(
    demo: machine.Machine, kprobes: Kprobes, optimization: bool
) -> None:
    kprobes.optimization = optimization
    calls = 0

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    probe = kprobes.register_kprobe(Kprobe(FUNCTION, pre_handler=pre, record=False))
    with pytest.raises(KeyboardInterrupt):
        demo.run(instructions=3_000_000)
    assert demo.registers.pc == demo.symbols[FUNCTION].address
    demo.step()
    assert demo.registers.pc == demo.symbols[FUNCTION].address + 4
    assert (calls, probe.hits) == (6, 6)


def test_the_past_is_the_same_with_what_the_handler_changed(kprobes: Kprobes, demo: machine.Machine) -> None:
    """Going back and forward again does what the handler did, and does not call it."""
    calls = 0

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        nonlocal calls
        calls += 1
        regs.regs[9] = 0xABCD0000 + calls

    kprobes.register_kprobe(Kprobe(FUNCTION, pre_handler=pre, record=False))
    start = demo.instructions
    demo.run(instructions=20_000)
    middle, words = demo.instructions, list(demo.registers.x)
    demo.run(instructions=20_000)
    called = calls
    demo.timeline.go(start + 1000)
    demo.timeline.go(middle)
    assert (list(demo.registers.x), calls) == (words, called)
