# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v5.4: no jprobes, kretprobes at entries only, and a scan for exclusives that ends with the function."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Final

from armprobe.machine.core.pstate import DAIF, PSTATE_D, PSTATE_I

from .era import Bound
from .hit_rules import SlotPstate, TrampolineFrame
from .v4_8 import V4_8

# Commit 7419333fa15e (v5.1): D is always cleared, and stays so. No era has it: v5.3 repaired it.
SLOT_PSTATE_V5_1: Final = SlotPstate(sets=PSTATE_I, clears=PSTATE_D, clears_reentered=PSTATE_D, restores=PSTATE_I)
# Commit b3980e48528c (v5.3): all of DAIF is put back.
SLOT_PSTATE: Final = SlotPstate(sets=PSTATE_I, clears=PSTATE_D, clears_reentered=PSTATE_D, restores=DAIF)

V5_4: Final = replace(
    V4_8,
    name="v5.4",
    release=(5, 4, 0),
    exclusives=replace(V4_8.exclusives, reach=32, bound=Bound.SYMBOL),  # v4.9
    hits=replace(
        V4_8.hits,
        slot_pstate=SLOT_PSTATE,
        trampolines=("direct",),
        frame=TrampolineFrame(size=0x140, record=False),
        skip_ends_hit=True,
        level_3_is_page_fault=False,  # commit 760bfb47c36a (v4.14)
        jprobes=False,
    ),
    reserved=replace(V4_8.reserved, bug_sites=True),  # commit e336b4027775 (v5.4)
    entry_only=True,  # "kretprobes: Ensure probe location is at function entry" (v4.12)
    not_entry=errno.EINVAL,
)
