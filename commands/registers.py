# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers as values, symbols looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .locations import location
from .values import Registers

if TYPE_CHECKING:
    from armprobe.session import Session


class Indexed(Protocol):
    """Something with numbered values."""

    def __getitem__(self, index: int, /) -> int: ...


class AnyRegs(Protocol):
    """What pt_regs of any stage have."""

    @property
    def regs(self) -> Indexed:
        """x0 to x30."""

    @property
    def sp(self) -> int:
        """The stack pointer."""

    @property
    def pc(self) -> int:
        """The program counter."""

    @property
    def pstate(self) -> int:
        """PSTATE, as in SPSR_EL1."""


def registers(session: Session, regs: AnyRegs) -> Registers:
    """All of pt_regs."""
    x = tuple(regs.regs[number] for number in range(31))
    return Registers(
        x=x,
        sp=regs.sp,
        pc=regs.pc,
        pstate=regs.pstate,
        pc_location=location(session, regs.pc),
        lr_location=location(session, x[30]),
    )
