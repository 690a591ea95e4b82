# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v4.8: the first with kprobes on arm64. All rules are here; a later era names what changed since.

The decoder's rows follow arch/arm64/kernel/probes/decode-insn.c with the masks of arch/arm64/include/asm/insn.h, as
those of all eras do. Encodings: Arm ARM, C4.1.
"""

from __future__ import annotations

import errno
from typing import Final

from armprobe.machine.core.instruction_words import NOP
from armprobe.machine.core.pstate import PSTATE_D, PSTATE_I

from .decoder_rows import accept, refuse, simulate
from .era import Bound, Era, ExclusiveScan, ReservedText, areas
from .hit_rules import HitRules, SlotPstate, Status, TrampolineFrame

# Kprobes and uprobes share this decoder up to v6.11. Since commit acc450aa0709 this is the one for kprobes.
LITERALS: Final = (
    simulate(0xBF000000, 0x18000000, "simulate_ldr_literal"),
    simulate(0xFF000000, 0x98000000, "simulate_ldrsw_literal"),
    refuse(0xFF000000, 0xD8000000, "PRFM (literal) has a PC-relative address and the kernel has no simulation of it"),
)

B_COND: Final = simulate(0xFF000010, 0x54000000, "simulate_b_cond")
RELATIVE_BRANCHES: Final = (
    simulate(0x7E000000, 0x34000000, "simulate_cbz_cbnz"),
    simulate(0x7E000000, 0x36000000, "simulate_tbz_tbnz"),
    simulate(0x1F000000, 0x10000000, "simulate_adr_adrp"),
    simulate(0x7C000000, 0x14000000, "simulate_b_bl"),
)
BRANCHES_TO_REGISTER: Final = (
    simulate(0xFFFFFC1F, 0xD61F0000, "simulate_br_blr_ret"),
    simulate(0xFFFFFC1F, 0xD63F0000, "simulate_br_blr_ret"),
    simulate(0xFFFFFC1F, 0xD65F0000, "simulate_br_blr_ret"),
)

# BRA*, BLRA*, RETA*, ERETA*
BRANCHES_AUTHENTICATED: Final = ((0xFEFFF800, 0xD61F0800), (0xFEFFF800, 0xD63F0800), (0xFFFFFBFF, 0xD65F0BFF))
ERET_AUTHENTICATED: Final = (0xFFFFFBFF, 0xD69F0BFF)
_LEAVES_THE_SLOT = (
    "this kernel knows no pointer authentication and executes the instruction in the slot, which it leaves by "
    "branching: the step then ends where the kernel does not expect it"
)
_POINTER_AUTHENTICATION_UNKNOWN: Final = tuple(
    accept(mask, value, _LEAVES_THE_SLOT) for mask, value in (*BRANCHES_AUTHENTICATED, ERET_AUTHENTICATED)
)

RETURNS: Final = "it returns from an exception"
_SYSTEM_WRITE = "it writes a system register or PSTATE, which the breakpoint exception around it would undo"
SYSTEM: Final = (
    refuse(0xFFFFFFFF, 0xD69F03E0, RETURNS),
    refuse(0xFF000000, 0xD4000000, "it generates an exception of its own (SVC, HVC, SMC, BRK, HLT or DCPS)"),
    refuse(0xFFF8F01F, 0xD500401F, _SYSTEM_WRITE),
    refuse(0xFFF00000, 0xD5100000, _SYSTEM_WRITE),
    refuse(0xFFFFFFE0, 0xD53B4220, "it reads DAIF, which in the slot is not the interrupted code's"),
)

# aarch64_insn_is_nop() takes every hint that it has no name for as a NOP. It has names for these five.
_HINTS: Final = tuple(
    refuse(0xFFFFFFFF, NOP | hint << 5, "of the hints the kernel refuses YIELD, WFE, WFI, SEV and SEVL")
    for hint in range(1, 6)
)

EXCLUSIVES: Final = (
    # The exception clears the monitor, so they would never succeed.
    refuse(
        0x3F800000, 0x08000000, "it is a load or store exclusive: the exception between the two makes the store fail"
    ),
)

# The kernel accepts these by mistake. The verdict is the kernel's, and the user is warned.
MISTAKES: Final = (
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
BC_COND_MISTAKEN: Final = accept(
    0xFF000010, 0x54000010, "the kernel executes BC.cond in the slot, where it branches relative to the slot"
)

# The backward scan for a load exclusive covers 31 instructions and may pass the start of the function. Bit 23 is not in
# the mask, so LDAR counts as a load exclusive and STLR as a store exclusive.
_SCAN: Final = ExclusiveScan(mask=0x3F400000, load=0x08400000, store=0x08000000, reach=31, bound=Bound.TEXT)

# Hardware step. D is clear in probed code and set in exception handlers, where only re-entries step.
_SLOT_PSTATE: Final = SlotPstate(
    sets=PSTATE_I, clears=0, clears_reentered=PSTATE_D, restores=PSTATE_I, sets_reentered=PSTATE_D
)

RECOVERED: Final = frozenset({Status.HIT_ACTIVE, Status.HIT_SSDONE})

V4_8: Final = Era(
    name="v4.8",
    release=(4, 8, 0),
    rows=(
        *LITERALS,
        B_COND,
        *RELATIVE_BRANCHES,
        *BRANCHES_TO_REGISTER,
        *_POINTER_AUTHENTICATION_UNKNOWN,
        *SYSTEM,
        *_HINTS,
        *EXCLUSIVES,
        *MISTAKES,
        BC_COND_MISTAKEN,
    ),
    exclusives=_SCAN,
    hits=HitRules(
        stepping="ss",
        slot_pstate=_SLOT_PSTATE,
        trampoline="direct",
        trampolines=("direct", "kprobe"),
        frame=TrampolineFrame(size=0x130, record=False, pc="x1"),
        recovers_from=RECOVERED,
        unrecoverable="Unrecoverable kprobe detected",
        skip_ends_hit=False,
        return_ends_hit=True,
        fault_handlers=True,
        fault_restores_daif=False,
        level_3_is_page_fault=True,
        jprobes=True,
        instance_fp="",
        sets_return_pc=False,
        masks_returns=True,
        trace_flags=4,
        frees_instances=True,
    ),
    # arch_within_kprobe_blacklist(), and what arch_prepare_kprobe() refuses
    blacklist=areas(
        "kprobes_text",
        "entry_text",
        "idmap_text",
        "hyp_text",
        "hyp_idmap_text",
        "exception_text",
        "irqentry_text",
    ),
    reserved=ReservedText(
        ftrace_sites=True,  # arch_check_ftrace_location(): arm64 has no kprobes on ftrace
        bug_sites=False,
        cfi_preambles=(),
    ),
    unknown_address=errno.EINVAL,
    entry_only=False,
    not_entry=errno.ENOENT,
    max_data_size=None,
    maxactive=1,  # num_possible_cpus()
)
