# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn by itself, through its public API: the rate that armprobe's is compared with."""

from __future__ import annotations

import unicorn
from unicorn import arm64_const as reg

from tests.bench.a64 import NOP, SUBS_X0, b_ne, code
from tests.bench.pieces import cpu_seconds

_BASE = 0x4000_0000


def _engine(program: bytes, n: int) -> unicorn.Uc:
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    engine.ctl_set_cpu_model(reg.UC_CPU_ARM64_A57)
    # SCR_EL3 and HCR_EL2: EL1 is AArch64, as in armprobe's machine.
    engine.reg_write(reg.UC_ARM64_REG_CP_REG, (1, 1, 3, 6, 0, 0x5B1))
    engine.reg_write(reg.UC_ARM64_REG_CP_REG, (1, 1, 3, 4, 0, 1 << 31))
    engine.mem_map(_BASE, 0x1000)
    engine.mem_write(_BASE, program)
    engine.reg_write(reg.UC_ARM64_REG_X0, n)
    return engine


def _seconds(engine: unicorn.Uc, end: int, count: int) -> float:
    took = cpu_seconds(lambda: engine.emu_start(_BASE, _BASE + end, count=count))
    assert engine.reg_read(reg.UC_ARM64_REG_X0) == 0, "the loop did not run to its end"
    return took


def seconds(n: int, counted: bool) -> float:
    """The CPU time of a loop of two instructions, n times; `counted`: with an instruction limit."""
    engine = _engine(code(SUBS_X0, b_ne(-1), NOP), n)
    return _seconds(engine, 8, 4 * n if counted else 0)
