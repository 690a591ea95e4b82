# SPDX-License-Identifier: GPL-2.0-or-later
"""The bug of 2015 and its mirror image: both follow from the CPU's rules, and vanish when one of these is changed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from armprobe import machine
from armprobe.machine import Context, StopReason
from armprobe.machine.core.software_step import SoftwareStep
from armprobe.probes import ERAS, Kprobe, Kprobes, Kretprobe, Moment, PtRegs, Status
from armprobe.probes.eras.v5_4 import SLOT_PSTATE_V5_1

D, SS, DAIF = 1 << 9, 1 << 21, 0x3C0
UNEXPECTED = "Unexpected kernel single-step exception at EL1"
V5_1 = replace(ERAS["v5.4"], name="v5.1", hits=replace(ERAS["v5.4"].hits, slot_pstate=SLOT_PSTATE_V5_1))


class StepsDespiteD(SoftwareStep):
    """A CPU with one rule changed: PSTATE.D does not mask software steps."""

    masked = 0

    def exception_return(self, context: Context) -> None:
        self.masked = context.pstate & D
        context.pstate &= ~D
        super().exception_return(context)

    def disable(self, context: Context) -> None:
        super().disable(context)
        context.pstate |= self.masked


def outstanding_and_unregistered(demo: machine.Machine, kprobes: Kprobes) -> Kprobe:
    """A probe on kfree, and a call of slab_round whose kretprobe is gone before it returns."""
    kfree = kprobes.register_kprobe(Kprobe("kfree", record=False))
    kretprobe = kprobes.register_kretprobe(Kretprobe("slab_round", record=False))
    demo.run(until="slab_round")
    demo.run(until="kmalloc")
    kprobes.unregister(kretprobe)
    return kfree


def handler_that_calls(demo: machine.Machine, kprobes: Kprobes) -> Kprobe:
    """A probe on kfree, and one on kmalloc whose pre-handler calls it."""
    kfree = kprobes.register_kprobe(Kprobe("kfree", record=False))

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        demo.call("kfree", 0)

    kprobes.register_kprobe(Kprobe("kmalloc", pre_handler=pre, record=False))
    return kfree


def test_the_failure(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    outstanding_and_unregistered(demo, kprobes)
    moments: list[Moment] = []
    kprobes.on_moment = moments.append
    stop = demo.run(instructions=2_000_000)
    assert stop.reason is StopReason.PROBE
    assert stop.text.startswith(UNEXPECTED)
    at = next(i for i, moment in enumerate(moments) if moment.what == "BRK #4 at kretprobe_trampoline")
    told = moments[at:]
    # All of return handling is in the exception of the trampoline's breakpoint, which was taken with nothing masked.
    assert told[0].spsr & (DAIF | SS) == 0
    assert [moment.pstate & DAIF for moment in told[:3]] == [DAIF] * 3
    nested = next(i for i, moment in enumerate(told) if moment.what == "BRK #4 at kfree")
    # The nested breakpoint finds no kprobe running, and D set by the exception it is nested in.
    assert told[nested].status is Status.NONE
    assert told[nested].spsr & D
    # So what is returned to has D set, and the step is asked for in vain.
    assert told[nested + 1].what == "ERET to the slot of kfree"
    assert told[nested + 1].spsr & (D | SS) == D | SS
    assert told[nested + 1].mdscr & 1
    # The slot's end is run over, and the exceptions come where D is clear: one an instruction.
    assert told[nested + 2].what == "undefined: exception at what is behind the slot of kfree"
    unexpected = told[nested + 3 :]
    assert [moment.what.split(":")[0] for moment in unexpected] == [UNEXPECTED] * 3
    assert not any(moment.spsr & D for moment in unexpected)
    assert [later.pc - earlier.pc for earlier, later in itertools.pairwise(unexpected)] == [4, 4]


@pytest.mark.parametrize("before", [True, False])
def test_the_failure_from_a_snapshot(demo: machine.Machine, before: bool) -> None:
    """Taken in the midst of the call, with the kretprobe unregistered before or after: the instance is memory still."""
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    kprobes.register_kprobe(Kprobe("kfree", record=False))
    kretprobe = kprobes.register_kretprobe(Kretprobe("slab_round", record=False))
    demo.run(until="slab_round")
    demo.run(until="kmalloc")
    if before:
        kprobes.unregister(kretprobe)
    snapshot = demo.snapshot()
    demo.run(instructions=1000)
    demo.restore(snapshot)
    if not before:
        kprobes.unregister(kretprobe)
    stop = demo.run(instructions=2_000_000)
    assert stop.text.startswith(UNEXPECTED)
    if before:
        demo.restore(snapshot)
        assert demo.run(instructions=2_000_000) == stop


def test_the_guest_is_not_lost(demo: machine.Machine) -> None:
    """The call of kfree that failed is given up, and the guest goes on in the caller."""
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    outstanding_and_unregistered(demo, kprobes)
    assert demo.run(instructions=2_000_000).reason is StopReason.PROBE
    assert demo.symbols.at(demo.registers.pc)[0].name != "slab_round"  # type: ignore[index]
    assert demo.run(instructions=2_000_000).reason is StopReason.INSTRUCTIONS


def test_the_patch(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8", trampoline="direct")
    kfree = outstanding_and_unregistered(demo, kprobes)
    moments: list[Moment] = []
    kprobes.on_moment = moments.append
    assert demo.run(instructions=2_000_000).reason is StopReason.INSTRUCTIONS
    freed = next(i for i, moment in enumerate(moments) if "kfree()" in moment.what)
    assert moments[freed].pstate & DAIF == 0  # in no exception
    assert moments[freed + 1].what == "BRK #4 at kfree"  # the same call is made, and its probe hit
    assert not moments[freed + 1].spsr & D
    assert kfree.nmissed == 0


def test_without_the_rule_that_d_masks_steps_there_is_no_bug(demo: machine.Machine) -> None:
    demo.core.software_step.__class__ = StepsDespiteD
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    kfree = outstanding_and_unregistered(demo, kprobes)
    before = kfree.hits
    assert demo.run(instructions=2_000_000).reason is StopReason.INSTRUCTIONS
    assert kfree.hits > before
    assert kfree.nmissed == 0


def test_without_a_probe_on_kfree_there_is_no_bug(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    kprobes.disable(outstanding_and_unregistered(demo, kprobes))
    assert demo.run(instructions=2_000_000).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize("era", ["v4.8", "v5.4", "v5.10", "v6.1", "v6.9", "v7.2"])
def test_probed_functions_called_from_handlers(demo: machine.Machine, era: str) -> None:
    """What the mail says was handled appropriately."""
    kprobes = Kprobes(demo, era)
    kfree = handler_that_calls(demo, kprobes)
    assert demo.run(instructions=500_000).reason is StopReason.INSTRUCTIONS
    assert kfree.nmissed > 100
    assert demo.registers.pstate & D == 0


def test_the_mirror_image(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, V5_1)
    handler_that_calls(demo, kprobes)
    moments: list[Moment] = []
    kprobes.on_moment = moments.append
    stop = demo.run(instructions=500_000)
    assert stop.text.startswith(UNEXPECTED)
    last = next(moment for moment in moments if moment.what.startswith(UNEXPECTED))
    assert last.what.endswith("the handler's ERET")
    assert last.spsr & DAIF == DAIF & ~D  # 3c0 has become 1c0
