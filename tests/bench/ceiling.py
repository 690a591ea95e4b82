# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn by itself, through its public API: the rates that armprobe's are compared with."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import unicorn
from unicorn import arm64_const as reg

from tests.bench.a64 import BRK_4, NOP, SUBS_X0, b_ne, code

_BASE = 0x4000_0000
_X0_PC_SPAN = 32 * 8  # bytes from x0 to pc in the CPU context


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
    start = time.perf_counter()
    engine.emu_start(_BASE, _BASE + end, count=count)
    took = time.perf_counter() - start
    assert engine.reg_read(reg.UC_ARM64_REG_X0) == 0, "the loop did not run to its end"
    return took


def instructions_per_second(n: int, counted: bool) -> float:
    """A loop of two instructions, n times; `counted`: with an instruction limit, as armprobe always has one."""
    engine = _engine(code(SUBS_X0, b_ne(-1), NOP), n)
    return 2 * n / _seconds(engine, 8, 4 * n if counted else 0)


def brk_per_second_pc(n: int) -> float:
    """BRKs a second with a hook that does no more than step over them."""
    return _brk_per_second(n, lambda engine: lambda: engine.reg_write(reg.UC_ARM64_REG_PC, _BASE + 4))


def brk_per_second_context(n: int) -> float:
    """BRKs a second with a hook that reads and writes all registers at once, by the CPU context."""

    def bulk(engine: unicorn.Uc) -> Callable[[], None]:
        context = engine.context_save()
        # Where in it the program counter is: of all words the one that this changes.
        before = bytes(context)
        engine.reg_write(reg.UC_ARM64_REG_PC, 0x1122_3344_5566_7788)
        engine.context_update(context)
        at = bytes(context).index((0x1122_3344_5566_7788).to_bytes(8, "little"))
        assert before[at : at + 8] == bytes(8)
        words = (ctypes.c_uint64 * 33).from_address(context.context.value + at - _X0_PC_SPAN)

        def hook() -> None:
            engine.context_update(context)
            words[32] += 4
            engine.context_restore(context)

        return hook

    return _brk_per_second(n, bulk)


def _brk_per_second(n: int, make: Callable[[unicorn.Uc], Callable[[], None]]) -> float:
    engine = _engine(code(BRK_4, SUBS_X0, b_ne(-2), NOP), n)
    step_over = make(engine)
    engine.hook_add(unicorn.UC_HOOK_INTR, lambda *_: step_over())
    return n / _seconds(engine, 12, 4 * n)
