# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions of instructions in slots: which of them Linux asks kprobes about (arch/arm64/mm/fault.c of each era)."""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import ERAS, Kprobe, Kprobes

MDSCR_SS = 1
KERNELS, USERS = 0xFFFF_9000_0000_0000, 0xDEAD_0000
LDR_X0_X0, STR_X0_X0, UDF = 0xF9400000, 0xF9000000, 0


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("word", "x0", "cancels"),
    [
        (LDR_X0_X0, USERS, True),
        (LDR_X0_X0, 0x5A00_0000_0000_1000, True),  # tagged
        (LDR_X0_X0, 0x0001_0000_0000_0000, False),  # beyond what a user can have
        (LDR_X0_X0, KERNELS, False),
        (STR_X0_X0, "strlen", True),  # which may only be read and executed: a permission fault
        (UDF, 0, False),
    ],
)
def test_exceptions_in_the_slot(demo: machine.Machine, era: str, word: int, x0: int | str, cancels: bool) -> None:
    """do_page_fault() alone asks kprobes: after others the hit has no end, and the guest sees them in the slot."""
    demo.memory.write(demo.symbols["strlen"].address, word.to_bytes(4, "little"))
    kprobes = Kprobes(demo, era)
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe("strlen"))
    demo.registers.x[0] = demo.symbols[x0].address if isinstance(x0, str) else x0
    demo.registers.pc = demo.symbols["strlen"].address
    stop = demo.run(until="el1h_64_sync_handler", instructions=1000)
    assert stop.reason is StopReason.UNTIL
    assert (demo.registers["elr_el1"] == demo.symbols["strlen"].address) is cancels
    assert any("not told of" in warning for warning in probe.warnings) is not cancels
    other = kprobes.register_kprobe(Kprobe("insn_nop"))
    demo.registers["mdscr_el1"] &= ~MDSCR_SS  # as the handler of the fault is stepped otherwise
    stop = demo.run(until="show_regs", instructions=100_000)
    assert stop.reason is StopReason.UNTIL
    if cancels or era == "v6.1":  # the others end in BUG()
        demo.call("insn_nop", 1)
        assert (other.hits, other.nmissed) == ((1, 0) if cancels else (0, 1))
        kprobes.reset_current_kprobe()
        demo.call("insn_nop", 1)
        assert other.hits == 1 + cancels


@pytest.mark.parametrize(("era", "cancels"), [("v4.8", True), ("v5.4", False), ("v6.9", False), ("v7.2", False)])
def test_a_translation_fault_of_the_last_level(demo: machine.Machine, era: str, cancels: bool) -> None:
    """Until v4.14 it was given to do_page_fault() in the kernel's half of the addresses, too."""
    hole = demo.symbols["strlen"].address & ~0xFFFF | 0xFFF0
    while True:
        hole += 0x1_0000
        try:
            demo.memory.read(hole, 1)
        except machine.MachineError:
            break
    demo.memory.write(demo.symbols["strlen"].address, LDR_X0_X0.to_bytes(4, "little"))
    kprobes = Kprobes(demo, era)
    kprobes.optimization = False  # an optimised probe has no slot
    kprobes.register_kprobe(Kprobe("strlen"))
    demo.registers.x[0], demo.registers.pc = hole, demo.symbols["strlen"].address
    demo.run(until="el1h_64_sync_handler", instructions=1000)
    assert demo.registers["esr_el1"] & 0x3F == 7
    assert (demo.registers["elr_el1"] == demo.symbols["strlen"].address) is cancels
