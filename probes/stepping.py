# SPDX-License-Identifier: GPL-2.0-or-later
"""Three designs for executing a copied instruction once and regaining control.

ss      the slot is one instruction, and the CPU's own software step raises the second exception (to v5.9)
brk     the slot ends in BRK #6, which raises it (from v5.10 on, commit 7ee31a3aa8f4)
branch  the slot ends in a branch to the next instruction: there is no second exception, and no place for a
        post-handler. Proposed in the thread of 2015, in no released arm64 kernel
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.machine.core.core import Core
from armprobe.machine.core.exceptions import IL, Class
from armprobe.machine.core.instruction_words import brk
from armprobe.machine.core.pstate import PSTATE_D
from armprobe.machine.native.structures import NativeSlot

from .eras import v5_4, v5_10
from .eras.hit_rules import HitRules, SlotPstate

if TYPE_CHECKING:
    from .site import Site

STEPPINGS: Final = ("ss", "brk", "branch")
KPROBES_BRK_IMM: Final = 4
KPROBES_BRK_SS_IMM: Final = 6
KRETPROBES_BRK_IMM: Final = 7
_MASKED: Final = "it was hit with PSTATE.D set, where the CPU takes no step: execution ran on behind the slot"
REACH: Final = 128 << 20  # bytes that B reaches in either direction


KPROBES_BRK_WORD: Final = brk(KPROBES_BRK_IMM)
KPROBES_BRK: Final = KPROBES_BRK_WORD.to_bytes(4, "little")


class Stepping:
    """One of the designs. `size` is that of a slot in bytes. `post` says whether control comes back."""

    name: str
    size: int
    post = True

    def words(self, site: Site, slot: int) -> tuple[int, ...]:
        """The contents of the slot at that address."""
        raise NotImplementedError

    def start(self, core: Core, site: Site, reentered: bool) -> int:
        """Send the CPU to the slot. Returns the PSTATE.DAIF to pass to `finish`."""
        core.context.pc = site.slot
        return core.context.daif

    def unseen(self, site: Site) -> NativeSlot | None:
        """The slot, for the C core, which does what `start` and `finish` do. None if only Python can."""
        return None

    def finish(self, core: Core, saved: int, reentered: bool) -> None:
        """The instruction has been executed: set PSTATE.DAIF to its value after it."""

    def cancel(self, core: Core, saved: int, reentered: bool, restores: bool) -> None:
        """The instruction faulted: like `finish`, but the saved value is put back only if the kernel `restores` it."""


class BrkStepping(Stepping):
    """The slot ends in BRK #6."""

    name = "brk"
    size = 8

    def __init__(self, pstate: SlotPstate) -> None:
        self._sets, self._clears, self._restores = pstate.sets, pstate.clears, pstate.restores

    def words(self, site: Site, slot: int) -> tuple[int, ...]:
        """The instruction and BRK #6."""
        return site.original, brk(KPROBES_BRK_SS_IMM)

    def start(self, core: Core, site: Site, reentered: bool) -> int:
        """Set PSTATE.DAIF and send the CPU to the slot."""
        context = core.context
        saved = context.daif
        context.daif = (saved | self._sets) & ~self._clears
        context.x[32] = site.slot
        return saved

    def unseen(self, site: Site) -> NativeSlot:
        """See `Stepping.unseen`."""
        syndrome = Class.BRK << 26 | IL | KPROBES_BRK_SS_IMM
        return NativeSlot(site.slot, site.addr + 4, syndrome, self._sets, self._clears, self._restores)

    def finish(self, core: Core, saved: int, reentered: bool) -> None:
        """Restore PSTATE.DAIF."""
        context = core.context
        context.daif = context.daif & ~self._restores | saved & self._restores

    def cancel(self, core: Core, saved: int, reentered: bool, restores: bool) -> None:
        """Restore PSTATE.DAIF, if this kernel does so."""
        if restores:
            self.finish(core, saved, reentered)


class SoftwareStepping(Stepping):
    """The CPU steps: MDSCR_EL1.SS is set, and an ERET with SPSR_EL1.SS goes to the slot."""

    name = "ss"
    size = 4

    def __init__(self, pstate: SlotPstate) -> None:
        self._pstate = pstate

    def words(self, site: Site, slot: int) -> tuple[int, ...]:
        """The instruction alone."""
        return (site.original,)

    def start(self, core: Core, site: Site, reentered: bool) -> int:
        """kernel_enable_single_step, and the return from the exception."""
        rules, context = self._pstate, core.context
        saved = context.daif
        context.daif = (saved | rules.sets) & ~(rules.clears_reentered if reentered else rules.clears)
        if context.daif & PSTATE_D:
            site.warn(_MASKED)  # setup_singlestep() of v4.8 has a WARN_ON for this
        context.pc = site.slot
        core.software_step.enable(context)
        core.software_step.exception_return(context)
        return saved

    def finish(self, core: Core, saved: int, reentered: bool) -> None:
        """kernel_disable_single_step."""
        rules, context = self._pstate, core.context
        context.daif = context.daif & ~rules.restores | saved & rules.restores | (rules.sets_reentered * reentered)
        core.software_step.disable(context)

    def cancel(self, core: Core, saved: int, reentered: bool, restores: bool) -> None:
        """Like `finish`, except for the bits that are restored."""
        rules, context = self._pstate, core.context
        if restores:
            context.daif = context.daif & ~rules.restores | saved & rules.restores
        context.daif |= rules.sets_reentered * reentered
        core.software_step.disable(context)


class BranchStepping(Stepping):
    """The slot ends in a branch to the instruction after the probed one. Nothing is masked, as nothing is awaited."""

    name = "branch"
    size = 8
    post = False

    def words(self, site: Site, slot: int) -> tuple[int, ...]:
        """The instruction and B."""
        return site.original, 0x1400_0000 | (site.addr - slot) // 4 & 0x3FF_FFFF


def followed(rules: HitRules, name: str) -> Stepping:
    """The design of that name, or `brk` for "branch": it steps instructions whose end must be noticed.

    PSTATE in the slot follows the era's rules if the design is the era's own, else those of the last kernel that had
    it.
    """
    own = rules.slot_pstate if name == rules.stepping else None
    if name == "ss":
        return SoftwareStepping(own or v5_4.SLOT_PSTATE)
    return BrkStepping(own or v5_10.SLOT_PSTATE)
