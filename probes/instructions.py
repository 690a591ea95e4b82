# SPDX-License-Identifier: GPL-2.0-or-later
"""What the arm64 kernel's kprobe decoder says of each A64 instruction, as data: one row a group, the first that
matches decides.

v6.1: arch/arm64/kernel/probes/decode-insn.c, and the masks of arch/arm64/include/asm/insn.h. Encodings: Arm ARM,
C4.1.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Verdict(enum.Enum):
    """The kernel's `enum probe_insn`."""

    REJECTED = 0
    GOOD_NO_SLOT = 1  # simulated
    GOOD = 2  # executed in a slot


class Row(NamedTuple):
    """Instructions with `word & mask == value`. `text` is why they are refused, or why they should have been."""

    mask: int
    value: int
    verdict: Verdict
    simulator: str = ""
    text: str = ""


def _refuse(mask: int, value: int, text: str) -> Row:
    return Row(mask, value, Verdict.REJECTED, "", text)


def _simulate(mask: int, value: int, simulator: str) -> Row:
    return Row(mask, value, Verdict.GOOD_NO_SLOT, simulator)


def _accept(mask: int, value: int, warning: str = "") -> Row:
    return Row(mask, value, Verdict.GOOD, "", warning)


_AUTHENTICATED = "it authenticates a pointer and branches, which the kernel neither simulates nor executes out of line"
_SYSTEM_WRITE = "it writes a system register or PSTATE, which the breakpoint exception around it would undo"
_LITERAL_IN_SLOT = "the kernel executes this SIMD literal load in the slot, where it loads from the wrong address"
_FAULTS = "the instruction is accepted but is undefined: executing it ends in the guest's undefined-instruction handler"

_STEPPABLE_HINTS: Final = (0x00, 0x07, 0x08, 0x0A, 0x18, 0x19, 0x1A, 0x1B, 0x20, 0x22, 0x24, 0x26)

KPROBE_ROWS_V6_1: Final = (
    # loads from a literal pool: the decoder of kprobes simulates them, ahead of the one it shares with uprobes
    _simulate(0xBF000000, 0x18000000, "simulate_ldr_literal"),
    _simulate(0xFF000000, 0x98000000, "simulate_ldrsw_literal"),
    _refuse(0xFF000000, 0xD8000000, "PRFM (literal) has a PC-relative address and the kernel has no simulation of it"),
    # branches
    _simulate(0xFF000010, 0x54000000, "simulate_b_cond"),
    _simulate(0x7E000000, 0x34000000, "simulate_cbz_cbnz"),
    _simulate(0x7E000000, 0x36000000, "simulate_tbz_tbnz"),
    _simulate(0x1F000000, 0x10000000, "simulate_adr_adrp"),
    _simulate(0x7C000000, 0x14000000, "simulate_b_bl"),
    _simulate(0xFFFFFC1F, 0xD61F0000, "simulate_br_blr_ret"),
    _simulate(0xFFFFFC1F, 0xD63F0000, "simulate_br_blr_ret"),
    _simulate(0xFFFFFC1F, 0xD65F0000, "simulate_br_blr_ret"),
    _refuse(0xFEFFF800, 0xD61F0800, _AUTHENTICATED),
    _refuse(0xFEFFF800, 0xD63F0800, _AUTHENTICATED),
    _refuse(0xFFFFFBFF, 0xD65F0BFF, _AUTHENTICATED),
    # exceptions and the return from them
    _refuse(0xFFFFFBFF, 0xD69F0BFF, "it returns from an exception"),
    _refuse(0xFFFFFFFF, 0xD69F03E0, "it returns from an exception"),
    _refuse(0xFF000000, 0xD4000000, "it generates an exception of its own (SVC, HVC, SMC, BRK, HLT or DCPS)"),
    # system registers
    _refuse(0xFFF8F01F, 0xD500401F, _SYSTEM_WRITE),
    _refuse(0xFFF00000, 0xD5100000, _SYSTEM_WRITE),
    _refuse(0xFFFFFFE0, 0xD53B4220, "it reads DAIF, which in the slot is not the interrupted code's"),
    # hints
    *(_accept(0xFFFFFFFF, 0xD503201F | hint << 5) for hint in _STEPPABLE_HINTS),
    _refuse(0xFFFFF01F, 0xD503201F, "of the hints the kernel executes only NOP, BTI, PAC* and XPACLRI out of line"),
    # exclusives: the exception clears the monitor, so they would never succeed
    _refuse(
        0x3F800000, 0x08000000, "it is a load or store exclusive: the exception between the two makes the store fail"
    ),
    # accepted by the kernel, mistakenly: the verdict is reproduced and the user warned
    _accept(0xFFFF0000, 0x00000000, _FAULTS),
    _accept(0x3F000000, 0x1C000000, _LITERAL_IN_SLOT),
    _accept(0xFF000010, 0x54000010, "the kernel executes BC.cond in the slot, where it branches relative to the slot"),
    _accept(0xFFFFFFFF, 0xD6BF03E0, "the kernel executes DRPS in the slot; it is undefined outside Debug state"),
    _accept(0xFFFFFFC0, 0xD5031000, "WFET and WFIT are executed in the slot with interrupts masked"),
)
