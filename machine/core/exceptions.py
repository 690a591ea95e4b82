# SPDX-License-Identifier: GPL-2.0-or-later
"""Exception entry to EL1 (Arm ARM, D1.3, and the AArch64.TakeException pseudocode).

Unicorn stops at the preferred return address and leaves the exception entry to its exception hook.
"""

from __future__ import annotations

import enum
from typing import Final

from .context import Context
from .pstate import DAIF, EL1H, NZCV, PSTATE_PAN

SCTLR_NTWI: Final = 1 << 16
SCTLR_SPAN: Final = 1 << 23
_MDSCR_SS: Final = 1


class Raised(enum.IntEnum):
    """The numbers with which Unicorn announces an exception (QEMU's EXCP_ numbers)."""

    UNDEFINED = 1  # also software step and trapped system registers: the syndrome tells
    SVC = 2
    PREFETCH_ABORT = 3
    DATA_ABORT = 4
    BREAKPOINT = 7
    HVC = 11


class Class(enum.IntEnum):
    """Exception classes, ESR_EL1.EC (Arm ARM, D19.2.37)."""

    UNKNOWN = 0x00
    WFX = 0x01
    SVC = 0x15
    HVC = 0x16
    SYSTEM = 0x18
    PREFETCH_ABORT_LOWER = 0x20
    PREFETCH_ABORT = 0x21
    PC_ALIGNMENT = 0x22
    DATA_ABORT_LOWER = 0x24
    DATA_ABORT = 0x25
    STEP_LOWER = 0x32
    STEP = 0x33
    WATCHPOINT_LOWER = 0x34
    WATCHPOINT = 0x35
    BRK = 0x3C


IL: Final = 1 << 25  # ESR_EL1.IL: the instruction is 32 bits long
EXTERNAL_ABORT: Final = 0x10  # DFSC and IFSC: synchronous external abort, not on a table walk
FAR_NOT_VALID: Final = 1 << 10
WRITE_NOT_READ: Final = 1 << 6

_IRQ, _FIQ = 0x080, 0x100  # offsets in each of the vector table's four groups; synchronous exceptions have 0
_SAME_LEVEL_SP0, _SAME_LEVEL, _LOWER_LEVEL = 0x000, 0x200, 0x400

# The exceptions that write FAR_EL1: aborts and PC alignment faults. Others leave it unchanged.
_WRITES_FAR: Final = frozenset({0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35})


def enter(context: Context, syndrome: int | None, fault_address: int = 0, pan: bool = False, fiq: bool = False) -> bool:
    """Change `context` to the state at the first instruction of EL1's vector for an exception.

    `syndrome` goes to ESR_EL1; it is None for an interrupt, which is an IRQ or with `fiq` an FIQ. `fault_address` goes
    to FAR_EL1 if the class has one. `pan` is whether the CPU implements FEAT_PAN. Returns whether flags that the engine
    caches have changed (see `Core.refresh`).
    """
    layout, registers = context.layout, context.doubles
    pstate = context.pstate
    from_el0 = not pstate & 0xC
    registers[layout.spsr_el1 // 8] = pstate
    registers[layout.elr_el1 // 8] = context.pc
    vector = registers[layout.vbar_el1 // 8]
    vector += _LOWER_LEVEL if from_el0 else _SAME_LEVEL if pstate & 1 else _SAME_LEVEL_SP0
    if syndrome is None:
        vector += _FIQ if fiq else _IRQ
    else:
        registers[layout.esr_el1 // 8] = syndrome
        if syndrome >> 26 in _WRITES_FAR:
            registers[layout.far_el1 // 8] = fault_address
    if not pstate & 1:  # the stack pointer in use is SP_EL0; the handler runs on SP_EL1
        registers[layout.sp_el0 // 8] = context.sp
        context.sp = registers[layout.sp_el1 // 8]
    kept = pstate & PSTATE_PAN
    if pan and not registers[layout.sctlr_el1 // 8] & SCTLR_SPAN:
        kept = PSTATE_PAN
    context.pstate = pstate & NZCV | DAIF | EL1H | kept  # UAO, SS, IL and BTYPE become 0
    context.pc = vector & (1 << 64) - 1
    return from_el0 or kept != pstate & PSTATE_PAN or bool(registers[layout.mdscr_el1 // 8] & _MDSCR_SS)
