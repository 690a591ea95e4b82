# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v5.10: the slot ends in BRK #6, and the decoder knows pointer authentication and lists the hints it accepts."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Final

from armprobe.machine.core.instruction_words import NOP
from armprobe.machine.core.pstate import DAIF

from .decoder_rows import accept, refuse
from .era import areas
from .hit_rules import SlotPstate, TrampolineFrame
from .v4_8 import (
    B_COND,
    BC_COND_MISTAKEN,
    BRANCHES_AUTHENTICATED,
    BRANCHES_TO_REGISTER,
    ERET_AUTHENTICATED,
    EXCLUSIVES,
    LITERALS,
    MISTAKES,
    RELATIVE_BRANCHES,
    RETURNS,
    SYSTEM,
)
from .v5_4 import V5_4

_NOT_SIMULATED = "it authenticates a pointer and branches, which the kernel neither simulates nor executes out of line"
POINTER_AUTHENTICATION: Final = (
    *(refuse(mask, value, _NOT_SIMULATED) for mask, value in BRANCHES_AUTHENTICATED),
    refuse(*ERET_AUTHENTICATED, RETURNS),
)

NOP_IN_SLOT: Final = accept(0xFFFFFFFF, NOP)
# aarch64_insn_is_steppable_hint(), which has NOP too
HINTS: Final = (
    *(
        accept(0xFFFFFFFF, NOP | hint << 5)
        for hint in (0x07, 0x08, 0x0A, 0x18, 0x19, 0x1A, 0x1B, 0x20, 0x22, 0x24, 0x26)
    ),
    refuse(0xFFFFF01F, NOP, "of the hints the kernel lets only NOP, BTI, PAC* and XPACLRI be probed"),
)

# Commit 7ee31a3aa8f4 (v5.10): no step, nothing to unmask.
SLOT_PSTATE: Final = SlotPstate(sets=DAIF, clears=0, clears_reentered=0, restores=DAIF)

V5_10: Final = replace(
    V5_4,
    name="v5.10",
    release=(5, 10, 223),
    rows=(
        *LITERALS,
        B_COND,
        *RELATIVE_BRANCHES,
        *BRANCHES_TO_REGISTER,
        *POINTER_AUTHENTICATION,
        *SYSTEM,
        NOP_IN_SLOT,
        *HINTS,
        *EXCLUSIVES,
        *MISTAKES,
        BC_COND_MISTAKEN,
    ),
    hits=replace(
        V5_4.hits,
        stepping="brk",
        slot_pstate=SLOT_PSTATE,
        return_ends_hit=False,
        frame=TrampolineFrame(size=0x150, record=False),
        fault_restores_daif=True,  # commit 738fa58ee132 (v5.12), in 5.10 by an update
        instance_fp="sp",
        frees_instances=False,
    ),
    blacklist=areas(
        "kprobes_text",
        "noinstr_text",  # commit 66e9b0717102 (v5.8)
        "entry_text",
        "irqentry_text",
        "idmap_text",
        "hyp_text",
        "hyp_idmap_text",
    ),
    not_entry=errno.ENOENT,  # commit 97c753e62e6c (v5.11), in 5.10 by an update
    max_data_size=4096,  # KRETPROBE_MAX_DATA_SIZE, commit 6bbfa4411668 (v5.16), in 5.10 by an update
)
