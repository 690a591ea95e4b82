# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that is changed through a mapping from which the CPU cannot execute it (Arm ARM, D8.4: PXN and UXN)."""

from collections.abc import Callable

import pytest
import unicorn

from armprobe.machine import Machine, StopReason

PAGE_TABLES = """
    ldr x0, =0x40600000; msr ttbr0_el1, x0; mov x0, #0xff; msr mair_el1, x0
    ldr x0, =0x803519; msr tcr_el1, x0; isb
    mrs x0, sctlr_el1; orr x0, x0, #1; msr sctlr_el1, x0; isb"""
ALIAS = 0x80_0000
"""Bytes from an address of the code to its second mapping, which is not executable."""
MOV_X1_2 = (0xD280_0041).to_bytes(4, "little")


@pytest.fixture
def aliased(bare: Callable[..., Machine]) -> Callable[[str], Machine]:
    """A guest with the MMU on: blocks of 2 MiB, the code in two of them (D8.3)."""

    def load(code: str) -> Machine:
        guest = bare(f"{PAGE_TABLES}; {code}")
        not_executable = 1 << 53 | 1 << 54
        for address, entry in {
            0x4060_0008: 0x4060_1003,
            0x4060_1000: 0x4000_0701,
            0x4060_1020: 0x4000_0701 | not_executable,
            0x4060_1028: 0x4000_07C1 | 1 << 53,  # for EL0 only
        }.items():
            guest.memory.physical.write(address, entry.to_bytes(8, "little"))
        return guest

    return load


def test_code_changed_at_el1(aliased: Callable[[str], Machine]) -> None:
    guest = aliased("adr x5, 1f; 1: mov x1, #1; add x2, x2, x1; b 1b")
    assert guest.run(instructions=1000).reason is StopReason.INSTRUCTIONS
    assert guest.registers.x[1] == 1
    guest.memory.write(guest.registers.x[5] + ALIAS, MOV_X1_2)
    guest.run(instructions=1000)
    assert guest.registers.x[1] == 2


AT_EL0 = """
    adr x6, 2f; msr vbar_el1, x6; msr spsr_el1, xzr
    adr x5, 1f; add x5, x5, #0xa00000; msr elr_el1, x5; eret
    1: mov x1, #1; add x2, x2, x1; svc #0; b 1b
    .balign 2048; 2: .skip 0x400; add x7, x7, #1; nop; nop; eret"""
"""A loop at EL0, at the address in x5, with a call of EL1 in it, which is counted in x7."""


def until_el1(guest: Machine) -> None:
    """Run the loop, and end in the call."""
    guest.run(instructions=1000)
    while guest.registers.pstate & 0xF == 0:
        guest.step()
    assert (guest.registers.x[1], guest.registers.x[7] > 5) == (1, True)


def test_code_of_el0_changed_at_el1(aliased: Callable[[str], Machine]) -> None:
    """And what the CPU accesses afterwards is translated right: it returns to EL0 at the same address."""
    guest = aliased(AT_EL0)
    until_el1(guest)
    guest.memory.write(guest.registers.x[5], MOV_X1_2)
    before = guest.registers.x[7]
    guest.run(instructions=1000)
    assert (guest.registers.x[1], guest.registers.x[7] > before) == (2, True)


def test_a_conditional_breakpoint_at_el0_added_at_el1(aliased: Callable[[str], Machine]) -> None:
    """Where the CPU cannot execute the code when the breakpoint is added, and has executed it before."""
    guest = aliased(AT_EL0)
    until_el1(guest)
    place = guest.registers.x[5] + 4
    guest.core.conditional_breakpoints.add(place, lambda _: True)
    stop = guest.run(instructions=1000)
    assert (stop.reason, guest.registers.pc) == (StopReason.BREAKPOINT, place)


UPPER = 0xFFFF_FF80_0000_0000
"""Where TTBR1_EL1 maps the same as TTBR0_EL1, for EL1 only."""
KERNEL = f"""
    mrs x0, tcr_el1; and x0, x0, #~(1 << 23); mov x1, #0x8019; orr x0, x0, x1, lsl #16; msr tcr_el1, x0
    ldr x0, =0x40602000; msr ttbr1_el1, x0; isb; adr x6, 2f; ldr x0, ={UPPER:#x}; add x6, x6, x0; msr vbar_el1, x6
    msr spsr_el1, xzr; adr x5, 1f; add x5, x5, #0xa00000; msr elr_el1, x5; eret
    1: mov x1, #1; add x2, x2, x1; svc #0; b 1b
    .balign 2048; 2: .skip 0x400; add x7, x7, #1; nop; nop; eret"""
"""The same loop, with the code at EL1 in the upper half, at the address in x6 and after that."""


def test_a_breakpoint_in_the_kernel_added_at_el0(aliased: Callable[[str], Machine]) -> None:
    """It drops the code there, and leaves all other translated code alone."""
    guest = aliased(KERNEL)
    for address, entry in {0x4060_2008: 0x4060_3003, 0x4060_3000: 0x4000_0701 | 1 << 54}.items():
        guest.memory.physical.write(address, entry.to_bytes(8, "little"))
    guest.run(instructions=1000)
    while guest.registers.pstate & 0xF:
        guest.step()
    translated = list[int]()
    guest.core.engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, lambda _, block, *__: translated.append(block.pc))
    guest.run(instructions=1000)
    while guest.registers.pstate & 0xF:
        guest.step()
    place = guest.registers.x[6] + 0x404
    translated.clear()
    guest.breakpoints.add(place)
    for _ in range(3):
        assert guest.run(instructions=1000).reason is StopReason.BREAKPOINT
        assert guest.registers.pc == place
    assert translated
    assert min(translated) >= UPPER


def test_a_breakpoint_where_no_memory_is(aliased: Callable[[str], Machine]) -> None:
    """Before the MMU is on it is in nobody's way."""
    guest = aliased(KERNEL)
    for address, entry in {0x4060_2008: 0x4060_3003, 0x4060_3000: 0x4000_0701 | 1 << 54}.items():
        guest.memory.physical.write(address, entry.to_bytes(8, "little"))
    guest.breakpoints.add(0xFFFF_FFFF_FFFF_FFFC)
    assert guest.run(instructions=1000).reason is StopReason.INSTRUCTIONS
