# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping at addresses that the engine has trouble with."""

from collections.abc import Callable

import pytest

from armprobe.machine import Machine, StopReason
from tests.machine.conftest import CODE

# The MMU on, memory mapped to itself by one block, devices by another that cannot be executed; then ERET to the block's
# first instruction, at the exception level in SPSR_EL1's mode `mode`.
PAGE_START = """
    cbnz x5, landed
    adr x0, tables
    ldr x1, =0x400007c5                 // block: memory, AF, inner shareable, read-only, EL0 too; AttrIndx 1
    str x1, [x0, #8]
    ldr x1, =0x0060000000000401         // block: device, AF, UXN, PXN; AttrIndx 0
    str x1, [x0]
    msr ttbr0_el1, x0
    ldr x1, =0xff00
    msr mair_el1, x1
    ldr x1, =0x00803519                 // 39 bits, 4 KiB; TTBR1_EL1 is not used
    msr tcr_el1, x1
    isb
    mrs x1, sctlr_el1
    orr x1, x1, #1
    msr sctlr_el1, x1
    isb
    mov x5, #1
    mov x1, #mode
    msr spsr_el1, x1
    ldr x1, =0x40000000
    msr elr_el1, x1
    eret
landed:
    mov x6, #7
    b .
    .balign 4096
tables: .fill 512, 8, 0
"""


@pytest.fixture(params=[5, 0], ids=["EL1", "EL0"])
def guest(request: pytest.FixtureRequest, bare: Callable[..., Machine]) -> Machine:
    return bare(f".set mode, {request.param}\n{PAGE_START}")


def test_where_the_page_before_cannot_be_executed(guest: Machine) -> None:
    guest.run(instructions=1)
    stop = guest.run(until=CODE, instructions=10_000)
    assert (stop.reason, stop.address) == (StopReason.UNTIL, CODE)
    assert guest.registers.x[5] == 1
    assert guest.registers["far_el1"] == 0
    before = guest.instructions
    guest.run(until=guest.registers.pc, instructions=3)
    assert (guest.registers.x[6], guest.instructions - before) == (7, 3)


def test_functions_called_there(guest: Machine) -> None:
    """By ERET and from the start, and the guest goes on as if nothing had happened."""
    seen: list[tuple[int, int]] = []
    guest.intercept(CODE, lambda m: seen.append((m.registers.pc, m.registers.x[5])))
    assert guest.run(instructions=100).reason is StopReason.INSTRUCTIONS
    assert seen == [(CODE, 0), (CODE, 1)]
    assert guest.registers.x[6] == 7


LOOP = """
    mov x0, #100
again:
    sub x0, x0, #1
    cbnz x0, again
    b .
"""


def test_every_arrival_in_a_loop_is_seen(bare: Callable[..., Machine]) -> None:
    """A hundred times, within one run and by as many."""
    guest = bare(LOOP)
    start, again = guest.snapshot(), CODE + 4
    counted: list[int] = []
    guest.intercept(again, lambda m: counted.append(m.registers.x[0]))
    guest.run(instructions=1_000)
    assert counted == list(range(100, 0, -1))
    guest.restore(start)
    stopped = []
    while guest.run(until=again, instructions=1_000).reason is StopReason.UNTIL:
        stopped.append(guest.registers.x[0])
    assert stopped == counted[:100]
