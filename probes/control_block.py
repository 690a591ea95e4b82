# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's per-CPU state of the hits being handled: `current_kprobe` and `struct kprobe_ctlblk`."""

from __future__ import annotations

from typing import NamedTuple

from armprobe.machine.core.core import Core

from .eras.hit_rules import Status
from .kprobe import Kprobe
from .pt_regs import LiveRegs
from .site import Site


class Running(NamedTuple):
    """The state of a hit that a re-entry saves."""

    site: Site | None
    status: Status
    saved_daif: int


class ControlBlock:
    """The hits that one core handles. `regs` are the core's own registers, `words` the general ones, sp and pc.

    `site` is the kernel's current_kprobe and `status` its kprobe_status. `saved_daif` is PSTATE.DAIF of the interrupted
    code while its instruction is executed out of line. `instance` is the probe whose handler is running. `step_awaited`
    is the PC at the software step exception that ends the slot. `unexpected_steps` counts other step exceptions in a
    row. `unseen` is the site whose instruction C executed last for Python, and may still be executing
    (`Engine._slot_left`).
    """

    __slots__ = (
        "core",
        "instance",
        "previous",
        "regs",
        "saved_daif",
        "site",
        "status",
        "step_awaited",
        "unexpected_steps",
        "unseen",
        "words",
    )

    def __init__(self, core: Core) -> None:
        self.core = core
        self.words = core.context.x
        self.regs = LiveRegs(core.context)
        self.site: Site | None = None
        self.status = Status.NONE
        self.saved_daif = 0
        self.previous: list[Running] = []
        self.instance: Kprobe | None = None
        self.step_awaited = 0
        self.unexpected_steps = 0
        self.unseen: Site | None = None

    @property
    def hits(self) -> list[Running]:
        """The hits being handled, outermost first."""
        return [*self.previous, Running(self.site, self.status, self.saved_daif)]

    def push(self) -> None:
        """Save the present hit when a re-entry begins (save_previous_kprobe)."""
        self.previous.append(Running(self.site, self.status, self.saved_daif))

    def pop(self) -> None:
        """Go back to the hit that the re-entry interrupted (restore_previous_kprobe)."""
        self.site, self.status, self.saved_daif = self.previous.pop()
