# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux v6.1 with its updates, up to the last known point release that recovers from fewer re-entries."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Final

from .hit_rules import Status, TrampolineFrame
from .v4_8 import RECOVERED
from .v5_10 import V5_10

V6_1: Final = replace(
    V5_10,
    name="v6.1",
    release=(6, 1, 189),  # its changelog has the recovery from HIT_SS; checked on 6.1.192
    hits=replace(
        V5_10.hits,
        frame=TrampolineFrame(size=0x150, record=True),
        recovers_from=RECOVERED | {Status.HIT_SS},  # by an update: missing in 6.1.176, present in 6.1.192
        unrecoverable="Failed to recover from reentered kprobes",  # 2022
        masks_returns=False,  # commit d741bf41d7c7 (v5.11)
        trace_flags=5,  # commit 54357f0c9149 (v5.13)
        fault_handlers=False,
        instance_fp="x29",
        sets_return_pc=True,
    ),
    # Commit de02f2ac5d8c (v6.6), without effect until commit 8c8acb8f26cb (v6.11); both by updates of 2023 and 2024
    reserved=replace(V5_10.reserved, cfi_preambles=("__cfi_", "__pfx_")),
    unknown_address=errno.ENOENT,  # commit cc66bb914578 (v5.18)
    maxactive=10,  # max(10, 2 * num_possible_cpus()), regardless of CONFIG_PREEMPT
)

V6_1_176: Final = replace(V6_1, name="v6.1.176", release=(6, 1, 176), hits=replace(V6_1.hits, recovers_from=RECOVERED))
