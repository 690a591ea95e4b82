# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of a hit: one stage of it, with the registers at that stage."""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.kernel.tasks import Task
from armprobe.machine.devices.timer import FREQUENCY

from .pt_regs import SavedRegs

if TYPE_CHECKING:
    from .probe import Probe

TICK: Final = 1_000_000_000 // FREQUENCY
"""Nanoseconds of a tick of the guest's counter."""
_GENERAL: Final = struct.Struct("<33Q")
REGISTERS: Final = (*(f"x{number}" for number in range(31)), "sp", "pc")
"""The registers of a hit, in the order of `Hit.general`."""
_NO_DATA: Final[Mapping[str, bytes | str | int | None]] = MappingProxyType({})


class Stage(enum.Enum):
    """The stages of a hit at which handlers run: two for a kprobe, two for a kretprobe."""

    PRE = "pre"
    POST = "post"
    ENTRY = "entry"
    RETURN = "return"


TRACED_STAGE: Final = {"kprobe": Stage.PRE, "kretprobe": Stage.RETURN, "jprobe": Stage.ENTRY, "tracepoint": Stage.PRE}
"""For each kind of probe, the stage that has a line in the kernel's trace file."""


class Hit(NamedTuple):
    """One stage of one hit of one probe, before the handlers of that stage ran.

    `number` counts the probe's hits from 1 and is the same at all stages of a hit. `instructions` is the machine's
    count. `ticks` is the guest's time in ticks of its generic timer. `general` holds x0 to x30, sp and pc. `caller` is
    the function's return address, at the stage `return`. `task` is None if the task is unknown. `note` is the text from
    the probe's `note`. `data` of an event is its `TraceRecord`. Of other hits it has the memory and strings that the
    probe's `Record` names, None for what could not be read, and `missing` a bit for each register in `general` that it
    does not choose.
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
    data: Mapping[str, bytes | str | int | None] = _NO_DATA
    missing: int = 0

    @property
    def regs(self) -> SavedRegs:
        """The registers at that stage, read-only. Reading one that is not recorded raises ProbeError (ENODATA)."""
        return SavedRegs((*_GENERAL.unpack(self.general), self.pstate), self.missing)

    @property
    def recorded(self) -> dict[str, int]:
        """The recorded ones of x0 to x30, sp and pc, by name."""
        return {name: word for name, word in zip(REGISTERS, self.words, strict=True) if word is not None}

    @property
    def words(self) -> list[int | None]:
        """x0 to x30, sp and pc, with None for those that are not recorded."""
        words: list[int | None] = [*_GENERAL.unpack(self.general)]
        if self.missing:
            words = [None if self.missing >> number & 1 else word for number, word in enumerate(words)]
        return words

    @property
    def seconds(self) -> float:
        """Guest time since reset."""
        return self.ticks / FREQUENCY

    @property
    def address(self) -> int:
        """The address of the probe."""
        return self.probe.addr or 0

    def __str__(self) -> str:
        return f"{self.probe.kind} {self.probe.name}: stage {self.stage.value}, hit {self.number}"
