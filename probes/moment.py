# SPDX-License-Identifier: GPL-2.0-or-later
"""What the debug exceptions of a hit do to the CPU, moment by moment: for whoever wants to follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from armprobe.machine.frame import Frame

from .rules import Status


class Moment(NamedTuple):
    """`what` happened at the machine's instruction count `instructions`, and the registers then.

    `pc` is where the CPU goes on, `pstate` with what PSTATE; `spsr` and `mdscr` are SPSR_EL1 and MDSCR_EL1, `status`
    that of the kprobe being handled.
    """

    instructions: int
    what: str
    pc: int
    pstate: int
    spsr: int
    mdscr: int
    status: Status


Observer = Callable[[Moment], object]


def moment(instructions: int, what: str, frame: Frame, status: Status) -> Moment:
    """The moment that `frame` shows."""
    layout = frame.layout
    spsr, mdscr = frame.system(layout.spsr_el1), frame.system(layout.mdscr_el1)
    return Moment(instructions, what, frame.pc, frame.pstate, spsr, mdscr, status)
