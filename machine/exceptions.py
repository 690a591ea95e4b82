# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking an exception to EL1, as the architecture has it (Arm ARM, D1.3, and the AArch64.TakeException pseudocode).

Unicorn stops at the preferred return address and leaves all of this to whoever asked for its exceptions.
"""

from __future__ import annotations

import enum
from typing import Final

from .frame import DAIF, EL1H, Frame

PSTATE_SS, PSTATE_IL, PSTATE_PAN, PSTATE_UAO = 1 << 21, 1 << 20, 1 << 22, 1 << 23
SCTLR_SPAN: Final = 1 << 23


class Raised(enum.IntEnum):
    """The numbers with which Unicorn announces an exception (QEMU's EXCP_ numbers)."""

    UNDEFINED = 1  # also software step and trapped system registers: the syndrome tells
    SVC = 2
    PREFETCH_ABORT = 3
    DATA_ABORT = 4
    BREAKPOINT = 7
    HVC = 11
    SMC = 13


class Class(enum.IntEnum):
    """Exception classes, ESR_EL1.EC (Arm ARM, D19.2.37)."""

    UNKNOWN = 0x00
    WFX = 0x01
    SVC = 0x15
    HVC = 0x16
    SMC = 0x17
    SYSTEM = 0x18
    PREFETCH_ABORT_LOWER = 0x20
    PREFETCH_ABORT = 0x21
    DATA_ABORT_LOWER = 0x24
    DATA_ABORT = 0x25
    STEP_LOWER = 0x32
    STEP = 0x33
    BRK = 0x3C


IL: Final = 1 << 25  # ESR_EL1.IL: the instruction is 32 bits long
EXTERNAL_ABORT: Final = 0x10  # DFSC and IFSC: synchronous external abort, not on a table walk
FAR_NOT_VALID: Final = 1 << 10
WRITE_NOT_READ: Final = 1 << 6

SYNCHRONOUS, IRQ = 0x000, 0x080  # offsets within one of the vector table's four groups
_SAME_LEVEL_SP0, _SAME_LEVEL, _LOWER_LEVEL = 0x000, 0x200, 0x400

# Which exceptions write FAR_EL1: aborts and PC alignment faults; others leave it as it was.
_WRITES_FAR: Final = frozenset({0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35})


def enter(frame: Frame, kind: int, syndrome: int | None, fault_address: int = 0, pan: bool = False) -> bool:
    """Make `frame` what it is at the first instruction of EL1's vector for an exception of `kind`.

    `syndrome` goes to ESR_EL1 (None for an interrupt, which has none), `fault_address` to FAR_EL1 where the class
    has one; `pan` says whether the CPU implements FEAT_PAN. Returns whether the exception level changed.
    """
    layout = frame.layout
    pstate = frame.pstate
    from_el0 = frame.el == 0
    frame.set_system(layout.spsr_el1, pstate)
    frame.set_system(layout.elr_el1, frame.pc)
    if syndrome is not None:
        frame.set_system(layout.esr_el1, syndrome)
        if syndrome >> 26 in _WRITES_FAR:
            frame.set_system(layout.far_el1, fault_address)
    group = _LOWER_LEVEL if from_el0 else _SAME_LEVEL if pstate & 1 else _SAME_LEVEL_SP0
    if not pstate & 1:  # the stack pointer in use is SP_EL0; the handler runs on SP_EL1
        frame.set_system(layout.sp_el0, frame.sp)
        frame.sp = frame.system(layout.sp_el1)
    kept = pstate & PSTATE_PAN
    if pan and not frame.system(layout.sctlr_el1) & SCTLR_SPAN:
        kept = PSTATE_PAN
    # NZCV are left as they are; UAO, SS and IL become 0.
    frame.pstate = pstate & 0xF000_0000 | DAIF | EL1H | kept
    frame.pc = frame.system(layout.vbar_el1) + group + kind
    return from_el0
