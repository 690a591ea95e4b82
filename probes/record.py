# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of a hit, and the line the kernel's tracer would print of it."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.kernel.tasks import Task
from armprobe.machine import Symbols
from armprobe.machine.core.context import PSTATE_I
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


def symbol_and_size(symbols: Symbols, address: int) -> str:
    """`address` as the kernel's %pS prints it: "kfree+0x0/0x190", with " [module]" behind it in a module."""
    found = symbols.at(address)
    if found is None:
        return f"{address:#x}"
    symbol, offset = found
    return f"{symbol.name}+{offset:#x}/{symbol.size:#x}{symbols.in_module(address)}"


def trace_line(
    hit: Hit, symbols: Symbols, masked: bool, flags: int, arguments: Iterable[tuple[str, int]] | None = None
) -> str:
    """The line that the kernel's trace file has for a hit (Documentation/trace/kprobetrace.rst).

    `arguments` are names and values to print at its end; None stands for the hit's note, or else x0. The task is
    `<...>-0`, as for one that the kernel has no name for, unless the hit knows it. Of the `flags` there are in that
    kernel's lines only the first, `d`, is known, interrupts off: because the kernel has done so (`masked`), or the
    function that returns.
    """
    task = hit.task or Task("<...>", 0)
    regs = hit.regs
    if hit.stage is Stage.RETURN:
        function = symbols.at(hit.address)
        name = function[0].name if function else f"{hit.address:#x}"
        where = f"{symbol_and_size(symbols, hit.caller or 0)} <- {name}"
    else:
        where = symbol_and_size(symbols, hit.address)
    off = "d" if masked or hit.pstate & PSTATE_I else "."
    values = [("x0", regs.regs[0])] if arguments is None else arguments
    text = "".join(f" {name}={value:#x}" for name, value in values)
    if hit.note and arguments is None:
        text = f" {hit.note}"
    seconds, micro = divmod(int(hit.seconds * 1_000_000), 1_000_000)
    who = f"{task.comm:>16}-{task.pid:<7} [000] {off:.<{flags}}"
    return f"{who} {seconds:5}.{micro:06}: {hit.probe.name}: ({where}){text}"
