# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's rules for hits, as data (arch/arm64/kernel/probes/kprobes.c and kernel/kprobes.c)."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from armprobe.machine.lazy_dataclass import lazy_dataclass


class Status(enum.IntEnum):
    """`kprobe_status` (include/linux/kprobes.h)."""

    NONE = 0
    HIT_ACTIVE = 1
    HIT_SS = 2
    REENTER = 4
    HIT_SSDONE = 8


@lazy_dataclass
class SlotPstate:
    """PSTATE.DAIF around the instruction in the slot: kprobes_save_local_irqflag and ..._restore_local_irqflag.

    All fields are masks of DAIF bits: bits set and cleared while it executes (cleared in a re-entry), bits restored
    afterwards, and bits set afterwards in a re-entry.
    """

    sets: int
    clears: int
    clears_reentered: int
    restores: int
    sets_reentered: int = 0


@lazy_dataclass
class TrampolineFrame:
    """`struct pt_regs` as a trampoline builds it on the stack.

    `size` is in bytes. `record` says whether x29 and x30 in it are made a frame record. `pc` is the register that is
    stored as pc: x1 with a leftover value in v4.8, zero in later kernels.
    """

    size: int
    record: bool
    pc: str = "xzr"


@lazy_dataclass
class HitRules:
    """The rules of one kernel. `stepping` and `trampoline` name its designs (`STEPPINGS` and `TRAMPOLINES`)."""

    stepping: str
    slot_pstate: SlotPstate
    trampoline: str
    trampolines: tuple[str, ...]  # all that kernels of that generation, or patches for them, ever had
    frame: TrampolineFrame
    recovers_from: frozenset[Status]  # the states in which a re-entry is stepped over; in others it is a BUG
    unrecoverable: str  # the kernel's message for that BUG
    skip_ends_hit: bool  # whether the kernel itself forgets the hit after a pre-handler returns non-zero
    return_ends_hit: bool  # after a kretprobe's handler no hit is in progress, not even an earlier one
    fault_handlers: bool  # struct kprobe has one; faults in a handler, also a return handler, count as missed
    fault_restores_daif: bool  # whether PSTATE.DAIF is restored after a fault in the slot of a first hit
    level_3_is_page_fault: bool  # whether every level 3 translation fault is one, also for kernel addresses
    jprobes: bool
    instance_fp: str  # the register stored as an instance's `fp`, "" in kernels without one
    masks_returns: bool  # return handlers run with interrupts off, by kretprobe_hash_lock()
    sets_return_pc: bool  # whether return handlers find the return address in regs.pc
    trace_flags: int  # number of flag characters in a line of the trace file
    frees_instances: bool  # an instance without a kretprobe is passed to kfree() when its call returns

    def frame_pointer(self, x29: int, sp: int) -> int:
        """The `fp` of the instance of a call that was entered with these registers; 0 in kernels without one."""
        if self.instance_fp == "x29":
            return x29
        return sp if self.instance_fp == "sp" else 0

    def unsupported_choices(self, era: str, stepping: str, trampoline: str) -> Iterable[str]:
        """Warnings about a user's choice of stepping and trampoline that no kernel of `era` had."""
        if stepping != self.stepping:
            yield f"no kernel of {era} stepped by '{stepping}': its slots are for '{self.stepping}'"
        if trampoline not in self.trampolines:
            yield f"no kernel of {era} had the trampoline '{trampoline}': it has '{self.trampoline}'"
        elif trampoline != self.trampoline:
            yield (
                f"the trampoline '{trampoline}' was in the patches for {era} while they were reviewed, and in no "
                f"release: that has '{self.trampoline}'"
            )
