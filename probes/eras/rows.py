# SPDX-License-Identifier: GPL-2.0-or-later
"""The instruction decoders of kprobes, one table an era.

Each follows arch/arm64/kernel/probes/decode-insn.c of its release, with the masks of arch/arm64/include/asm/insn.h.
Encodings: Arm ARM, C4.1.
"""

from __future__ import annotations

from typing import Final

from armprobe.probes.instructions import Row, accept, refuse, simulate

# Since 6.12 (commit acc450aa0709) the decoder of kprobes alone has these, before that the one it shares with uprobes.
_LITERALS: Final = (
    simulate(0xBF000000, 0x18000000, "simulate_ldr_literal"),
    simulate(0xFF000000, 0x98000000, "simulate_ldrsw_literal"),
    refuse(0xFF000000, 0xD8000000, "PRFM (literal) has a PC-relative address and the kernel has no simulation of it"),
)

_RELATIVE: Final = (
    simulate(0x7E000000, 0x34000000, "simulate_cbz_cbnz"),
    simulate(0x7E000000, 0x36000000, "simulate_tbz_tbnz"),
    simulate(0x1F000000, 0x10000000, "simulate_adr_adrp"),
    simulate(0x7C000000, 0x14000000, "simulate_b_bl"),
)
_TO_REGISTER: Final = (
    simulate(0xFFFFFC1F, 0xD61F0000, "simulate_br_blr_ret"),
    simulate(0xFFFFFC1F, 0xD63F0000, "simulate_br_blr_ret"),
    simulate(0xFFFFFC1F, 0xD65F0000, "simulate_br_blr_ret"),
)
_BRANCHES: Final = (
    simulate(0xFF000010, 0x54000000, "simulate_b_cond"),
    *_RELATIVE,
    *_TO_REGISTER,
)

# BRA*, BLRA*, RETA*, ERETA*: the kernel has known them since 5.10.
_BRANCHES_AUTHENTICATED: Final = ((0xFEFFF800, 0xD61F0800), (0xFEFFF800, 0xD63F0800), (0xFFFFFBFF, 0xD65F0BFF))
_ERET_AUTHENTICATED: Final = (0xFFFFFBFF, 0xD69F0BFF)
_NOT_SIMULATED = "it authenticates a pointer and branches, which the kernel neither simulates nor executes out of line"
_LEAVES_THE_SLOT = (
    "this kernel knows no pointer authentication and executes the instruction in the slot, which it leaves by "
    "branching: the step then ends where the kernel does not expect it"
)
_RETURNS = "it returns from an exception"
_POINTER_AUTHENTICATION: Final = (
    *(refuse(mask, value, _NOT_SIMULATED) for mask, value in _BRANCHES_AUTHENTICATED),
    refuse(*_ERET_AUTHENTICATED, _RETURNS),
)
_POINTER_AUTHENTICATION_UNKNOWN: Final = tuple(
    accept(mask, value, _LEAVES_THE_SLOT) for mask, value in (*_BRANCHES_AUTHENTICATED, _ERET_AUTHENTICATED)
)

_SYSTEM_WRITE = "it writes a system register or PSTATE, which the breakpoint exception around it would undo"
_SYSTEM: Final = (
    refuse(0xFFFFFFFF, 0xD69F03E0, _RETURNS),
    refuse(0xFF000000, 0xD4000000, "it generates an exception of its own (SVC, HVC, SMC, BRK, HLT or DCPS)"),
    refuse(0xFFF8F01F, 0xD500401F, _SYSTEM_WRITE),
    refuse(0xFFF00000, 0xD5100000, _SYSTEM_WRITE),
    refuse(0xFFFFFFE0, 0xD53B4220, "it reads DAIF, which in the slot is not the interrupted code's"),
)

# aarch64_insn_is_nop(), which up to 5.9 decides, takes every hint for a NOP that it has no name for: the names it has
# are YIELD, WFE, WFI, SEV and SEVL.
_HINTS_BUT_FIVE: Final = tuple(
    refuse(0xFFFFFFFF, 0xD503201F | hint << 5, "of the hints the kernel refuses YIELD, WFE, WFI, SEV and SEVL")
    for hint in range(1, 6)
)
_NOP: Final = (0xFFFFFFFF, 0xD503201F)
# aarch64_insn_is_steppable_hint(), which has NOP too
_HINTS_LISTED: Final = (
    *(
        accept(0xFFFFFFFF, 0xD503201F | hint << 5)
        for hint in (0x07, 0x08, 0x0A, 0x18, 0x19, 0x1A, 0x1B, 0x20, 0x22, 0x24, 0x26)
    ),
    refuse(0xFFFFF01F, 0xD503201F, "of the hints the kernel lets only NOP, BTI, PAC* and XPACLRI be probed"),
)

_EXCLUSIVES: Final = (
    # The exception clears the monitor, so they would never succeed.
    refuse(
        0x3F800000, 0x08000000, "it is a load or store exclusive: the exception between the two makes the store fail"
    ),
)

# Accepted by all these kernels, mistakenly: the verdict is reproduced and the user warned.
_MISTAKES: Final = (
    accept(
        0xFFFF0000,
        0x00000000,
        "the instruction is accepted but is undefined: executing it ends in the guest's undefined-instruction handler",
    ),
    accept(
        0x3F000000,
        0x1C000000,
        "the kernel executes this SIMD literal load in the slot, where it loads from the wrong address",
    ),
    accept(0xFFFFFFFF, 0xD6BF03E0, "the kernel executes DRPS in the slot; it is undefined outside Debug state"),
    accept(0xFFFFFFC0, 0xD5031000, "WFET and WFIT are executed in the slot with interrupts masked"),
)

_BC_COND_MISTAKEN: Final = (
    accept(0xFF000010, 0x54000010, "the kernel executes BC.cond in the slot, where it branches relative to the slot"),
)

ROWS_V4_8: Final[tuple[Row, ...]] = (
    *_LITERALS,
    *_BRANCHES,
    *_POINTER_AUTHENTICATION_UNKNOWN,
    *_SYSTEM,
    *_HINTS_BUT_FIVE,
    *_EXCLUSIVES,
    *_MISTAKES,
    *_BC_COND_MISTAKEN,
)

ROWS_V5_10: Final[tuple[Row, ...]] = (
    *_LITERALS,
    *_BRANCHES,
    *_POINTER_AUTHENTICATION,
    *_SYSTEM,
    accept(*_NOP),
    *_HINTS_LISTED,
    *_EXCLUSIVES,
    *_MISTAKES,
    *_BC_COND_MISTAKEN,
)

# Memory copy and set instructions, which the kernel knows since 6.5 (aarch64_insn_is_mops())
_MOPS: Final = (0x3B200C00, 0x19000400)

ROWS_V6_9: Final[tuple[Row, ...]] = (
    *ROWS_V5_10,
    accept(
        *_MOPS,
        "a memory copy or set instruction (MOPS) may be resumed at the one before it, which the slot does not have: "
        "6.13 and updates of older kernels refuse it",
    ),
)

# Commit 2ccd8ff980b5: B.cond and BC.cond are one to the kernel.
_B_AND_BC_COND: Final = simulate(0xFF000000, 0x54000000, "simulate_b_cond")
# Commit c56c599d9002 (v6.13)
_MOPS_REFUSED: Final = refuse(
    *_MOPS,
    "it is one of the three instructions of a memory copy or set (MOPS), which have to stand one after another: in the "
    "slot it would be alone",
)

ROWS_V6_12: Final[tuple[Row, ...]] = (  # by updates, of which 6.12.107 has both
    *_LITERALS,
    _B_AND_BC_COND,
    *_RELATIVE,
    *_TO_REGISTER,
    *_POINTER_AUTHENTICATION,
    *_SYSTEM,
    accept(*_NOP),
    *_HINTS_LISTED,
    *_EXCLUSIVES,
    _MOPS_REFUSED,
    *_MISTAKES,
)

ROWS_V7_2: Final[tuple[Row, ...]] = (
    simulate(*_NOP, "simulate_nop"),  # commit ac4ad5c09b34 (v6.13)
    *_LITERALS,
    _B_AND_BC_COND,
    *_RELATIVE,
    # Commit 47687aa4d9c9 (v6.18)
    simulate(0xFFFFFC1F, 0xD61F0000, "simulate_br_blr"),
    simulate(0xFFFFFC1F, 0xD63F0000, "simulate_br_blr"),
    simulate(0xFFFFFC1F, 0xD65F0000, "simulate_ret"),
    *_POINTER_AUTHENTICATION,
    *_SYSTEM,
    *_HINTS_LISTED,
    *_EXCLUSIVES,
    _MOPS_REFUSED,
    *_MISTAKES,
)
