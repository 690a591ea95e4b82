# SPDX-License-Identifier: GPL-2.0-or-later
"""The bits of PSTATE, at their places in SPSR_EL1 (Arm ARM, SPSR_EL1)."""

from __future__ import annotations

from typing import Final

N, Z, C, V = 1 << 31, 1 << 30, 1 << 29, 1 << 28
NZCV: Final = N | Z | C | V
PSTATE_PAN: Final = 1 << 22
PSTATE_SS: Final = 1 << 21
BTYPE: Final = 3 << 10
PSTATE_D, PSTATE_I, PSTATE_F = 1 << 9, 1 << 7, 1 << 6
DAIF: Final = 0x3C0
EL0T, EL1T, EL1H = 0, 4, 5
"""M[3:0]: the exception level, and which stack pointer is in use."""
