# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults in what handlers call, by era: kprobe_fault_handler in arch/arm64/kernel/probes/kprobes.c."""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.probes import ERAS, Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs, Stage


@pytest.mark.parametrize("era", ["v4.8", "v5.4", "v5.10", "v6.1"])
def test_a_fault_in_a_guest_function_that_a_handler_calls(demo: machine.Machine, era: str) -> None:
    """Up to v5.10 it counts as missed, and the probe's fault_handler may repair it."""
    kprobes = Kprobes(demo, era)
    faults = []
    copied = []

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        copied.append(demo.call("strlen", 0xDEAD_0000))

    def repair(probe: Kprobe, regs: PtRegs, syndrome: int) -> int:
        faults.append(syndrome >> 26)
        regs.regs[0], regs.pc = 77, regs.regs[30]
        return 1

    has = ERAS[era].hits.fault_handlers
    probe = Kprobe("kfree", pre_handler=pre, fault_handler=repair if has else None)
    kprobes.register_kprobe(probe)
    demo.run(until="kfree")
    demo.run(instructions=50_000)
    if has:
        assert copied[0] == 77
        assert faults[0] == 0x25  # data abort at the current EL
        assert probe.nmissed == len(copied) > 0
    else:
        assert not copied
        assert "Oops" in demo.console.read().decode()


@pytest.mark.parametrize(
    ("era", "trampoline", "counts"),
    [
        ("v4.8", None, True),
        ("v4.8", "kprobe", True),
        ("v5.4", None, True),
        ("v5.10", None, True),
        ("v6.1", None, False),
        ("v6.9", None, False),
        ("v7.2", None, False),
    ],
)
def test_a_fault_in_what_a_return_handler_calls(
    demo: machine.Machine, era: str, trampoline: str | None, counts: bool
) -> None:
    """It counts as missed where faults in handlers do: of that kretprobe's kprobe, and of no other there."""
    kprobes = Kprobes(demo, era, trampoline=trampoline)
    left: list[int] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        left.append(demo.call("__arch_copy_from_user", demo.registers.sp - 512, 0xDEAD_0000, 8))

    faulting = kprobes.register_kretprobe(Kretprobe("insn_nop", handler=returned))
    others = [kprobes.register_kretprobe(Kretprobe("insn_nop")), kprobes.register_kretprobe(Kretprobe("fib"))]
    kprobe = kprobes.register_kprobe(Kprobe("insn_nop"))
    for calls in (1, 2):
        assert demo.call("insn_nop", 7) == 7
        assert left == [8] * calls  # bytes that were not copied: the guest has repaired it
        assert faulting.kp.nmissed == calls * counts
    assert [other.kp.nmissed for other in others] + [kprobe.nmissed, faulting.nmissed] == [0] * 4


def test_a_fault_handler_that_raises(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v5.4")

    def fail(probe: Kprobe, regs: PtRegs, syndrome: int) -> int:
        raise ValueError("no")

    kprobes.register_kprobe(
        Kprobe("kfree", post_handler=lambda p, regs, flags: demo.call("strlen", 0xDEAD_0000), fault_handler=fail)
    )
    demo.run(instructions=50_000)
    assert [(error.stage, str(error.error)) for error in kprobes.errors] == [(Stage.POST, "no")]
    assert "Oops" in demo.console.read().decode()  # the guest has to see to the fault itself
