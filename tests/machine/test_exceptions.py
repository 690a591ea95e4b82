# SPDX-License-Identifier: GPL-2.0-or-later
"""Exception entry against the architecture (Arm ARM, D1.3 and the AArch64.TakeException pseudocode)."""

from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import Machine

CODE, VECTORS = 0x4000_1000, 0x4000_2000
SVC_123, BRK_7, HVC_99, UDF_0 = 0xD4002461, 0xD42000E0, 0xD4000C62, 0x00000000
MASKED, SPAN = 0x3C0, 1 << 23
PAN = 1 << 22


def prepared(word: int, pstate: int, cpu: str = "cortex-a57") -> Machine:
    """A machine about to execute `word` with PSTATE `pstate`, all banked stack pointers told apart."""
    guest = machine.load("demo", memory="16M", cpu=cpu)
    guest.memory.write(CODE, word.to_bytes(4, "little"))
    guest.registers["vbar_el1"] = VECTORS
    guest.registers["far_el1"] = 0x5A5A
    guest.registers["sp_el1"], guest.registers["sp_el0"] = 0x4000_8000, 0x4000_9000
    guest.registers.pstate = pstate
    guest.registers.pc = CODE
    return guest


@pytest.mark.parametrize("flags", [0, 0xF000_0000, 0x6000_0000])
@pytest.mark.parametrize(("mode", "group"), [(5, 0x200), (4, 0x000), (0, 0x400)], ids=["EL1h", "EL1t", "EL0t"])
def test_svc(mode: int, group: int, flags: int) -> None:
    guest = prepared(SVC_123, flags | mode)
    guest.run(until=VECTORS + group)
    registers = guest.registers
    assert registers["esr_el1"] == 0x15 << 26 | 1 << 25 | 0x123
    assert registers["elr_el1"] == CODE + 4
    assert registers["spsr_el1"] == flags | mode
    assert registers["far_el1"] == 0x5A5A  # not written by SVC
    assert registers.pstate == flags | MASKED | 5
    assert registers.sp == 0x4000_8000
    assert registers["sp_el0"] == 0x4000_9000


@pytest.mark.parametrize(
    ("word", "syndrome", "link"),
    [(BRK_7, 0x3C << 26 | 1 << 25 | 7, CODE), (UDF_0, 1 << 25, CODE), (HVC_99, 1 << 25, CODE)],
    ids=["BRK", "UDF", "HVC without EL2 is undefined"],
)
def test_others(word: int, syndrome: int, link: int) -> None:
    guest = prepared(word, 5)
    guest.run(until=VECTORS + 0x200)
    assert guest.registers["esr_el1"] == syndrome
    assert guest.registers["elr_el1"] == link


@pytest.mark.parametrize("span", [0, SPAN])
def test_pan(span: int) -> None:
    """FEAT_PAN, which the A57 does not have: SCTLR_EL1.SPAN clear makes an exception to EL1 set PSTATE.PAN."""
    guest = prepared(SVC_123, 5, cpu="max")
    guest.registers["sctlr_el1"] = guest.registers["sctlr_el1"] & ~SPAN | span
    guest.run(until=VECTORS + 0x200)
    assert guest.registers.pstate & PAN == (0 if span else PAN)
    a57 = prepared(SVC_123, 5)
    a57.registers["sctlr_el1"] = a57.registers["sctlr_el1"] & ~SPAN | span
    a57.run(until=VECTORS + 0x200)
    assert not a57.registers.pstate & PAN


def test_eret_goes_back() -> None:
    """Through the vector and back to EL0, the stack pointers in their places."""
    guest = prepared(SVC_123, 0x2000_0000)
    guest.memory.write(VECTORS + 0x400, (0xD69F03E0).to_bytes(4, "little"))  # eret
    guest.run(until=CODE + 4)
    assert guest.registers.pstate == 0x2000_0000
    assert guest.registers.sp == 0x4000_9000
    assert guest.registers["sp_el1"] == 0x4000_8000


def test_interrupt_when_unmasked_for_one_instruction() -> None:
    """A timer that fired while PSTATE.I was set is taken between `msr daifclr, #2` and `msr daifset, #2`."""
    guest = machine.load("demo", memory="16M")
    guest.run(until="demo_idle")
    ticks = guest.symbols["jiffies"].address
    before = guest.memory.u64(ticks)
    guest.run(until=guest.symbols["demo_idle"].address + 0x44)
    assert guest.memory.u64(ticks) == before + 1


@pytest.mark.parametrize("rounds", [3, 20, 20_000])
@pytest.mark.parametrize("unmask", ["msr daifclr, #2", "msr daif, xzr", "bl far"])
def test_interrupt_after_a_loop_that_masks_it(rounds: int, unmask: str, bare: Callable[..., Machine]) -> None:
    """Whatever the masked code does: it is taken at the first instruction where it is not masked."""
    guest = bare(f"""
        ldr x0, =vectors
        msr vbar_el1, x0
        ldr x1, =0x08000000              // GICD_CTLR, ISENABLER0: the virtual timer's PPI
        mov w2, #1
        str w2, [x1]
        mov w2, #1 << 27
        str w2, [x1, #0x100]
        ldr x1, =0x08010000              // GICC_CTLR, PMR
        mov w2, #0xf0
        str w2, [x1, #4]
        mov w2, #1
        str w2, [x1]
        msr cntv_cval_el0, xzr
        msr cntv_ctl_el0, x2
        ldr x3, ={rounds}
        adr x5, unmasked
    1:  subs x3, x3, #1
        add x4, x4, #1
        b.ne 1b
        {unmask}
    unmasked:
        msr daifset, #2
        b .
        .balign 4096
    far:
        msr daifclr, #2
    after:
        ret
        .balign 4096
    vectors:
        .org vectors + 0x280
        mrs x6, elr_el1
        b .
    """)
    guest.run(instructions=100 + 3 * rounds)
    there = 0x4000_1004 if unmask == "bl far" else guest.registers.x[5]
    assert (guest.registers.x[4], guest.registers.x[6]) == (rounds, there)
