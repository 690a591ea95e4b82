# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel does when a probe is hit, as data: arch/arm64/kernel/probes/kprobes.c and kernel/kprobes.c."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


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
    """`struct pt_regs` as a trampoline builds it on the stack.

    `size` is in bytes, `record` says whether x29 and x30 in it are made a frame record, and `pc` is the register that
    is stored as pc: x1, with a leftover value, in v4.8, and zero in later kernels.
    """

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

    def unsupported_choices(self, era: str, stepping: str, trampoline: str) -> Iterable[str]:
        """Sentences on a user's choice of stepping and trampoline that no kernel of `era` had."""
        if stepping != self.stepping:
            yield f"no kernel of {era} stepped by '{stepping}': its slots are for '{self.stepping}'"
        if trampoline not in self.trampolines:
            yield f"no kernel of {era} had the trampoline '{trampoline}': it has '{self.trampoline}'"
        elif trampoline != self.trampoline:
            yield (
                f"the trampoline '{trampoline}' was in the patches for {era} while they were reviewed, and in no "
                f"release: that has '{self.trampoline}'"
            )
