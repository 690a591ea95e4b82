# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v7.2: NOP is simulated, LDAR is no load exclusive, and struct pt_regs is two words shorter."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from armprobe.machine.core.instruction_words import NOP

from .decoder_rows import simulate
from .hit_rules import TrampolineFrame
from .v4_8 import EXCLUSIVES, LITERALS, MISTAKES, RELATIVE_BRANCHES, SYSTEM
from .v5_10 import HINTS, POINTER_AUTHENTICATION
from .v6_9 import B_AND_BC_COND, MOPS_REFUSED, V6_12_117

V7_2: Final = replace(
    V6_12_117,
    name="v7.2",
    release=(7, 2, 0),
    rows=(
        simulate(0xFFFFFFFF, NOP, "simulate_nop"),  # commit ac4ad5c09b34 (v6.13)
        *LITERALS,
        B_AND_BC_COND,
        *RELATIVE_BRANCHES,
        # Commit 47687aa4d9c9 (v6.18)
        simulate(0xFFFFFC1F, 0xD61F0000, "simulate_br_blr"),
        simulate(0xFFFFFC1F, 0xD63F0000, "simulate_br_blr"),
        simulate(0xFFFFFC1F, 0xD65F0000, "simulate_ret"),
        *POINTER_AUTHENTICATION,
        *SYSTEM,
        *HINTS,
        *EXCLUSIVES,
        MOPS_REFUSED,
        *MISTAKES,
    ),
    exclusives=replace(V6_12_117.exclusives, mask=0x3FC00000),  # commit ab327cc841cb (v6.15)
    # struct pt_regs no longer has two words that the entry code used (commit ee776d68ba47, v6.18).
    hits=replace(V6_12_117.hits, frame=TrampolineFrame(size=0x140, record=True)),
)
