# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of a hit: one stage of it, with the registers at that stage."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.kernel.tasks import Task
from armprobe.machine.devices.timer import FREQUENCY

from .pt_regs import SavedRegs

if TYPE_CHECKING:
    from .probe import Probe

_GENERAL: Final = struct.Struct("<33Q")


class Stage(enum.Enum):
    """The points of a hit at which handlers run: two of a kprobe, two of a kretprobe."""

    PRE = "pre"
    POST = "post"
    ENTRY = "entry"
    RETURN = "return"


TRACED_STAGE: Final = {"kprobe": Stage.PRE, "kretprobe": Stage.RETURN, "jprobe": Stage.ENTRY}
"""By kind of probe, the stage of which the kernel's trace file has a line."""


class Hit(NamedTuple):
    """One stage of one hit of one probe, as it was before the handlers of that stage ran.

    `number` counts the hits of the probe from 1, and is the same at all stages of a hit; `instructions` is the
    machine's count, `ticks` the guest's time in those of its generic timer; `general` holds x0 to x30, sp and pc.
    `caller` is where the function returns to, at the stage `return`. `task` is None when nobody knows which task it
    was. `note` is what the probe's `note` said.
    """

    probe: Probe
    stage: Stage
    number: int
    instructions: int
    ticks: int
    general: bytes
    pstate: int
    caller: int | None
    task: Task | None
    note: str = ""

    @property
    def regs(self) -> SavedRegs:
        """The registers of that stage, for reading only."""
        return SavedRegs((*_GENERAL.unpack(self.general), self.pstate))

    @property
    def seconds(self) -> float:
        """Guest time since reset."""
        return self.ticks / FREQUENCY

    @property
    def address(self) -> int:
        """Where the probe is."""
        return self.probe.addr or 0

    def __str__(self) -> str:
        return f"{self.probe.kind} {self.probe.name}: stage {self.stage.value}, hit {self.number}"
