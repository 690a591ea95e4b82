# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v6.9: the trampoline is BRK #7, and the identity map has left the text. Updates of v6.12 are here too."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .decoder_rows import accept, refuse, simulate
from .era import areas
from .hit_rules import Status
from .v4_8 import BRANCHES_TO_REGISTER, EXCLUSIVES, LITERALS, MISTAKES, RECOVERED, RELATIVE_BRANCHES, SYSTEM
from .v5_10 import HINTS, NOP_IN_SLOT, POINTER_AUTHENTICATION
from .v6_1 import V6_1

# Memory copy and set instructions, which the kernel knows since v6.5 (aarch64_insn_is_mops())
_MOPS: Final = (0x3B200C00, 0x19000400)
_MOPS_MISTAKEN: Final = accept(
    *_MOPS,
    "a memory copy or set instruction (MOPS) may be resumed at the one before it, which the slot does not have: "
    "6.13 and updates of older kernels refuse it",
)

V6_9: Final = replace(
    V6_1,
    name="v6.9",
    release=(6, 9, 0),
    rows=(*V6_1.rows, _MOPS_MISTAKEN),
    # Commit 253751233b19
    hits=replace(V6_1.hits, trampoline="brk", trampolines=("brk",), recovers_from=RECOVERED),
    # The identity map has left the text (commit af7249b317e4, v6.3).
    blacklist=areas("kprobes_text", "noinstr_text", "entry_text", "irqentry_text", "hyp_text", "hyp_idmap_text"),
    # Commit de02f2ac5d8c compares its arguments the wrong way round.
    reserved=replace(V6_1.reserved, cfi_preambles=()),
)

# Commit 2ccd8ff980b5: the kernel treats B.cond and BC.cond as one.
B_AND_BC_COND: Final = simulate(0xFF000000, 0x54000000, "simulate_b_cond")
# Commit c56c599d9002 (v6.13)
MOPS_REFUSED: Final = refuse(
    *_MOPS,
    "it is one of the three instructions of a memory copy or set (MOPS), which have to stand one after another: in the "
    "slot it would be alone",
)

V6_12_107: Final = replace(
    V6_9,
    name="v6.12.107",
    release=(6, 12, 107),
    rows=(  # by updates; 6.12.107 has both
        *LITERALS,
        B_AND_BC_COND,
        *RELATIVE_BRANCHES,
        *BRANCHES_TO_REGISTER,
        *POINTER_AUTHENTICATION,
        *SYSTEM,
        NOP_IN_SLOT,
        *HINTS,
        *EXCLUSIVES,
        MOPS_REFUSED,
        *MISTAKES,
    ),
    reserved=V6_1.reserved,  # commit 8c8acb8f26cb (v6.11)
)

# The recovery from HIT_SS (commit 23f851ac0078) is in the changelog of 6.12.111; checked on 6.12.117.
V6_12_117: Final = replace(
    V6_12_107,
    name="v6.12.117",
    release=(6, 12, 111),
    hits=replace(V6_12_107.hits, recovers_from=RECOVERED | {Status.HIT_SS}),
)
