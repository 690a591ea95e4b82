# SPDX-License-Identifier: GPL-2.0-or-later
"""Structs of the kernel's whose layout differs from release to release, in guests that run."""

from __future__ import annotations

import struct

import pytest

from armprobe import machine
from armprobe.machine import Machine, StopReason
from armprobe.probes import Kprobe, Kprobes, PtRegs, Verdict, decode
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.live.conftest import LiveKernel
from tests.oracle.references import ASKED

pytestmark = pytest.mark.parametrize("reference", ASKED, indirect=True, scope="session")


@pytest.fixture
def guest(reference: LiveKernel) -> Machine:
    """At its shell, with the module loaded."""
    return machine.load(reference.snapshot)


@pytest.mark.parametrize("verdict", [Verdict.GOOD, Verdict.GOOD_NO_SLOT], ids=["executed", "simulated"])
def test_a_kprobe_where_the_guest_has_one_too(guest: Machine, reference: LiveKernel, verdict: Verdict) -> None:
    """struct kprobe: when the guest has executed the instruction is known by the slot in it."""
    shell, kprobes = Shell(guest), Kprobes(guest, reference.era)
    read = guest.symbols["vfs_read"]
    words = [guest.memory.u32(read.address + offset) for offset in range(8, 64, 4)]
    offset = next(8 + 4 * i for i, word in enumerate(words) if decode(word, reference.era).verdict is verdict)
    stages: list[str] = []

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        stages.append("pre")

    def post(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        stages.append("post")

    shell.probe_events(f"p:theirs vfs_read+{offset:#x}")
    ours = kprobes.register_kprobe(Kprobe("vfs_read", offset=offset, pre_handler=pre, post_handler=post))
    shell.run("cat /proc/version")
    kprobes.unregister(ours)
    assert len(shell.trace()) >= ours.hits > 1
    assert stages == ["pre", "post"] * ours.hits


def test_a_backtrace_out_of_an_interrupt(guest: Machine, reference: LiveKernel) -> None:
    """struct pt_regs: the interrupted code and its callers, as with the registers that the handler is given."""
    kprobes, registers = Kprobes(guest, reference.era), guest.registers
    Shell(guest).type("while :; do cat /proc/version; done")
    guest.run(instructions=10_000_000)
    # What the vector calls with its struct pt_regs; in 5.10 by the second names.
    names_of = {"el1h_64_irq_handler": "el1h_64_irq", "enter_el1_irq_or_nmi": "el1_irq"}
    called = next(name for name in names_of if name in guest.symbols)
    stop = guest.run(until=called, instructions=200_000_000)
    assert stop.reason is StopReason.UNTIL
    backtrace = kprobes.backtrace()
    assert backtrace.end == ""
    names = [guest.symbols.describe(frame.pc).partition("+")[0] for frame in backtrace.frames]
    assert names[:2] == [called, names_of[called]]
    saved = struct.unpack("<34Q", guest.memory.read(registers.x[0], 34 * 8))
    for number in range(31):
        registers.x[number] = saved[number]
    registers.sp, registers.pc = saved[31:33]
    assert backtrace.frames[2:] == kprobes.backtrace().frames
    assert len(backtrace.frames) > 4
