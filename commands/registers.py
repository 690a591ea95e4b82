# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers as text, in the arrangement of the kernel's own show_regs()."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .locations import where

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


def pstate_text(pstate: int) -> str:
    """PSTATE as the kernel prints it: NZCV in capitals where set, DAIF likewise, then the exception level and stack."""
    nzcv = "".join(letter.upper() if pstate >> 31 - i & 1 else letter for i, letter in enumerate("nzcv"))
    daif = "".join(letter.upper() if pstate >> 9 - i & 1 else letter for i, letter in enumerate("daif"))
    return f"{pstate:08x} ({nzcv} {daif} EL{pstate >> 2 & 3}{'h' if pstate & 1 else 't'})"


def pt_regs_text(session: Session, regs: AnyRegs) -> str:
    """All of pt_regs, symbols named."""
    x = regs.regs
    lines = [
        f"  pc : {where(session, regs.pc)}",
        f"  lr : {where(session, x[30])}",
        f"  sp : {regs.sp:#018x}   pstate: {pstate_text(regs.pstate)}",
    ]
    for first in range(29, 0, -3):
        lines.append("  " + " ".join(f"{f'x{i}':<3}: {x[i]:016x}" for i in range(first, first - 3, -1)))
    return "\n".join(lines) + "\n"
