# SPDX-License-Identifier: GPL-2.0-or-later
"""What a generation of the kernel does when a probe is hit, as data: the parts of an `Era` beyond decoding.

Each is what arch/arm64/kernel/probes/kprobes.c and kernel/kprobes.c of that release do.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from armprobe.machine.core.context import DAIF, PSTATE_D, PSTATE_I


class Status(enum.IntEnum):
    """`kprobe_status` (include/linux/kprobes.h)."""

    NONE = 0
    HIT_ACTIVE = 1
    HIT_SS = 2
    REENTER = 4
    HIT_SSDONE = 8


@dataclass(frozen=True)
class SlotPstate:
    """PSTATE.DAIF around the instruction in the slot: kprobes_save_local_irqflag and ..._restore_local_irqflag.

    All are masks of DAIF bits: those set and cleared while it executes (cleared in a re-entry), those put back to what
    they were, and those set after it in a re-entry.
    """

    sets: int
    clears: int
    clears_reentered: int
    restores: int
    sets_reentered: int = 0


@dataclass(frozen=True)
class TrampolineFrame:
    """`struct pt_regs` as a trampoline builds it on the stack: `size` in bytes; whether x29 and x30 in it are made a
    frame record; and the register stored as `pc`, which no later kernel than v4.8 leaves to chance."""

    size: int
    record: bool
    pc: str = "xzr"


@dataclass(frozen=True)
class HitRules:
    """`stepping` and `trampoline` name what that kernel used (`STEPPINGS` and `TRAMPOLINES`)."""

    stepping: str
    slot_pstate: SlotPstate
    trampoline: str
    trampolines: tuple[str, ...]  # all that a kernel of that generation, or a series of patches for it, ever had
    frame: TrampolineFrame
    recovers_from: frozenset[Status]  # re-entries that are stepped over; others are a BUG
    unrecoverable: str  # what the kernel says then
    skip_ends_hit: bool  # a pre-handler that returns non-zero: whether the kernel itself forgets the hit then
    return_ends_hit: bool  # when a kretprobe's handler has run, no hit goes on any more, not even one before it
    fault_handlers: bool  # struct kprobe has one, and faults in a handler, a return handler too, count as missed
    fault_restores_daif: bool  # a fault in the slot of a first hit: PSTATE.DAIF is put back
    level_3_is_page_fault: bool  # any translation fault at level 3 is, in the kernel's half of the addresses too
    jprobes: bool
    instance_fp: str  # the register that an instance's `fp` is, "" before there was one
    masks_returns: bool  # return handlers run with interrupts off, by kretprobe_hash_lock()
    sets_return_pc: bool  # whether return handlers find the return address in regs.pc
    trace_flags: int  # how many characters of flags a line of the trace file has
    frees_instances: bool  # an instance whose kretprobe is gone is given to kfree() when its call returns

    def unheard_of(self, era: str, stepping: str, trampoline: str) -> Iterable[str]:
        """What no kernel of `era` did, of a way to step and a trampoline that a user has chosen, in sentences."""
        if stepping != self.stepping:
            yield f"no kernel of {era} stepped by '{stepping}': its slots are for '{self.stepping}'"
        if trampoline not in self.trampolines:
            yield f"no kernel of {era} had the trampoline '{trampoline}': it has '{self.trampoline}'"
        elif trampoline != self.trampoline:
            yield (
                f"the trampoline '{trampoline}' was in the patches for {era} while they were reviewed, and in no "
                f"release: that has '{self.trampoline}'"
            )


_RECOVERED: Final = frozenset({Status.HIT_ACTIVE, Status.HIT_SSDONE})
_UNRECOVERABLE_2016: Final = "Unrecoverable kprobe detected"
_UNRECOVERABLE_2022: Final = "Failed to recover from reentered kprobes"

# Hardware step. D is clear in code that is probed, and set in the handlers of an exception, where only re-entries step.
SS_2016: Final = SlotPstate(
    sets=PSTATE_I, clears=0, clears_reentered=PSTATE_D, restores=PSTATE_I, sets_reentered=PSTATE_D
)
# Commit 7419333fa15e (v5.1): D is always cleared, and stays so.
SS_2019_D_LOST: Final = SlotPstate(sets=PSTATE_I, clears=PSTATE_D, clears_reentered=PSTATE_D, restores=PSTATE_I)
# Commit b3980e48528c (v5.3): all of DAIF is put back.
SS_2019: Final = SlotPstate(sets=PSTATE_I, clears=PSTATE_D, clears_reentered=PSTATE_D, restores=DAIF)
# Commit 7ee31a3aa8f4 (v5.10): no step, nothing to unmask.
BRK_2020: Final = SlotPstate(sets=DAIF, clears=0, clears_reentered=0, restores=DAIF)

V4_8: Final = HitRules(
    stepping="ss",
    slot_pstate=SS_2016,
    trampoline="direct",
    trampolines=("direct", "kprobe"),
    frame=TrampolineFrame(size=0x130, record=False, pc="x1"),
    recovers_from=_RECOVERED,
    unrecoverable=_UNRECOVERABLE_2016,
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
)

V5_4: Final = replace(
    V4_8,
    slot_pstate=SS_2019,
    trampolines=("direct",),
    frame=TrampolineFrame(size=0x140, record=False),
    skip_ends_hit=True,
    level_3_is_page_fault=False,  # commit 760bfb47c36a (v4.14)
    jprobes=False,
)

V5_10: Final = replace(
    V5_4,
    stepping="brk",
    slot_pstate=BRK_2020,
    return_ends_hit=False,
    frame=TrampolineFrame(size=0x150, record=False),
    fault_restores_daif=True,  # commit 738fa58ee132 (v5.12), in 5.10 by an update
    instance_fp="sp",
    frees_instances=False,
)

V6_1: Final = replace(
    V5_10,
    frame=TrampolineFrame(size=0x150, record=True),
    recovers_from=_RECOVERED | {Status.HIT_SS},  # by an update: 6.1.176 has not got it, 6.1.192 has
    unrecoverable=_UNRECOVERABLE_2022,
    masks_returns=False,  # commit d741bf41d7c7 (v5.11)
    trace_flags=5,  # commit 54357f0c9149 (v5.13)
    fault_handlers=False,
    instance_fp="x29",
    sets_return_pc=True,
)

V6_1_176: Final = replace(V6_1, recovers_from=_RECOVERED)

V6_9: Final = replace(V6_1, trampoline="brk", trampolines=("brk",), recovers_from=_RECOVERED)

V6_12_117: Final = replace(V6_9, recovers_from=_RECOVERED | {Status.HIT_SS})  # commit 23f851ac0078, by an update
# Two words that the entry code kept in it are gone from struct pt_regs (commit ee776d68ba47, v6.18).
V7_2: Final = replace(V6_12_117, frame=TrampolineFrame(size=0x140, record=True))
