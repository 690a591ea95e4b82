# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that changes its code, by any mapping, and says so executes the new code (Arm ARM, B2.3.5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from armprobe.machine import Machine, StopReason

MMU = """
    ldr x0, =0x40600000; msr ttbr0_el1, x0; mov x0, #0xff; msr mair_el1, x0
    ldr x0, =0x803519; msr tcr_el1, x0; isb
    mrs x0, sctlr_el1; orr x0, x0, #1; msr sctlr_el1, x0; isb
"""
NEVER_EXECUTED = 1 << 53  # PXN
MOV_X5_2 = 0xD280_0045


@pytest.mark.parametrize("invalidate", ["ic ivau, x1", "ic ivau, x2", "ic iallu", "ic ialluis"])
def test_code_changed_by_another_mapping(invalidate: str, bare: Callable[..., Machine]) -> None:
    """As Linux changes its text: by its linear map, which is never executed. It has written to that page before.

    0x40400000 is mapped to 0x40000000 (D8.3: a table and blocks of 2 MiB).
    """
    guest = bare(f"""
        {MMU}
        adr x1, target; mov x2, #0x400000; add x2, x1, x2; ldr w3, ={MOV_X5_2:#x}
        str xzr, [x2, #64]; bl target; mov x6, x5
        str w3, [x2]; dc cvau, x2; dsb ish; {invalidate}; dsb ish; isb
        bl target; b .
        .balign 64
        target: mov x5, #1; ret
        .balign 64
        .quad 0
        """)
    for address, entry in {
        0x4060_0008: 0x4060_1003,
        0x4060_1000: 0x4000_0701,
        0x4060_1010: 0x4000_0701 | NEVER_EXECUTED,
    }.items():
        guest.memory.physical.write(address, entry.to_bytes(8, "little"))
    assert guest.run(instructions=100).reason is StopReason.INSTRUCTIONS
    assert (guest.registers.x[6], guest.registers.x[5]) == (1, 2)
