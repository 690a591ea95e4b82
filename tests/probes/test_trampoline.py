# SPDX-License-Identifier: GPL-2.0-or-later
"""The RET that optimised kretprobes have as a trampoline: the guest runs as without it, whatever comes between."""

from __future__ import annotations

import pytest
import unicorn

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.machine.core.core import Core
from armprobe.probes import Kprobes, Kretprobe
from armprobe.probes.kretprobe import ReturnHandler

PSTATE_D, PSTATE_SS = 1 << 9, 1 << 21


def in_call(demo: machine.Machine, probe: Kretprobe) -> tuple[Kprobes, int, int]:
    """Be in a call of the function that the probe follows; the address of the trampoline, and the caller's."""
    kprobes = Kprobes(demo)
    kprobes.register_kretprobe(probe)
    demo.run(until="kfree")
    caller = demo.registers.x[30]
    demo.step()
    return kprobes, kprobes._kretprobes.trampoline, caller


def test_a_breakpoint_there_comes_before_the_return(demo: machine.Machine) -> None:
    probe = Kretprobe("kfree")
    kprobes, trampoline, caller = in_call(demo, probe)
    demo.breakpoints.add(trampoline)
    stop = demo.run(instructions=1000)
    assert (stop.reason, stop.address) == (StopReason.BREAKPOINT, trampoline)
    executed, registers = demo.instructions, list(demo.registers.x)
    assert registers[30] == trampoline
    assert [hit.stage.name for hit in kprobes.hits] == ["ENTRY"]
    demo.breakpoints.remove(trampoline)
    demo.run(until=caller)
    assert demo.instructions == executed
    assert demo.registers.x[30] == demo.registers.pc == caller
    assert [hit.stage.name for hit in kprobes.hits] == ["ENTRY", "RETURN"]


@pytest.mark.parametrize("handler", [None, lambda instance, regs: regs.regs[0]], ids=["in C", "in Python"])
def test_a_run_that_ends_between_the_return_and_its_instruction(handler: ReturnHandler | None) -> None:
    found = []
    for ends in (False, True):
        demo, ended = machine.load("demo", memory="16M"), {0}
        demo.run(until="workload_round")
        kprobes, trampoline, _ = in_call(demo, Kretprobe("kfree", handler=handler))
        engine = demo.core.engine

        def reached(*_: object, ends: bool = ends, demo: machine.Machine = demo, ended: set[int] = ended) -> None:
            now = demo.clock.executed
            if ends and now not in ended:
                demo.core.engine.emu_stop()
            ended.add(now)

        engine.hook_add(unicorn.UC_HOOK_CODE, reached, None, trampoline, trampoline)
        demo.run(instructions=100_000)
        hits = [(hit.stage, hit.general, hit.instructions) for hit in kprobes.hits]
        found.append((ended, hits, demo.instructions, list(demo.registers.x)))
    assert found[0] == found[1]
    assert len(found[0][0]) > 5


def stepped(demo: machine.Machine, probe: Kretprobe | None, again: bool) -> tuple[list[int], int, int]:
    """Where the guest is after each of 40 instructions that it steps out of a call; the trampoline, and the caller.

    With `again` it returns from each exception with PSTATE.SS clear first, and takes another one at the same place
    (Arm ARM, "Software Step exceptions", the state active-pending).
    """
    found: list[int] = []

    def taken(core: Core) -> bool:
        found.append(core.context.pc)
        if not again or len(found) % 2 == 0:
            core.context.pstate |= PSTATE_SS
        return True

    demo.core.dispatcher.claim_step(taken)
    demo.run(until="kfree")
    caller, trampoline = demo.registers.x[30], 0
    if probe is not None:
        _, trampoline, _ = in_call(demo, probe)
    else:
        demo.step()
    demo.core.software_step.enable(demo.core.context)
    demo.core.context.pstate = demo.core.context.pstate & ~PSTATE_D | PSTATE_SS
    demo.core.context.store()
    demo.core.refresh()
    demo.run(instructions=40)
    return found, trampoline, caller


@pytest.mark.parametrize("again", [False, True])
def test_a_guest_that_steps_itself(again: bool) -> None:
    """It steps its own instructions. Only where its RET leads to is seen, as in the kernel."""
    plain, _, _ = stepped(machine.load("demo", memory="16M"), None, again)
    probed, trampoline, caller = stepped(machine.load("demo", memory="16M"), Kretprobe("kfree"), again)
    assert probed.count(trampoline) == 1 + again
    assert [caller if address == trampoline else address for address in probed] == plain
