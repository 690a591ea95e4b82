# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulates the instructions that are not executed in a slot (arch/arm64/kernel/probes/simulate-insn.c).

Each simulator changes the general registers and `pc` of a `PtRegs` as the instruction, at its own address, changes the
CPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from armprobe.machine.core.pstate import BTYPE, C, N, V, Z

from .decoder import decode
from .eras import DEFAULT_ERA, Era
from .pt_regs import PtRegs

ReadMemory = Callable[[int, int], bytes]
Simulator = Callable[[int, int, PtRegs, ReadMemory], None]

_MASK: Final = (1 << 64) - 1


def _field(word: int, low: int, width: int) -> int:
    return word >> low & (1 << width) - 1


def _offset(word: int, low: int, width: int) -> int:
    """A signed count of instructions, converted to bytes."""
    value = _field(word, low, width)
    return (value - (value >> width - 1 << width)) * 4


def _get(regs: PtRegs, number: int) -> int:
    return regs.regs[number] if number < 31 else 0


def _set(regs: PtRegs, number: int, value: int) -> None:
    if number < 31:
        regs.regs[number] = value


def condition_holds(condition: int, pstate: int) -> bool:
    """Whether the A64 condition code (0 to 15) holds for the flags in `pstate` (Arm ARM, ConditionHolds)."""
    n, z, c, v = bool(pstate & N), bool(pstate & Z), bool(pstate & C), bool(pstate & V)
    result = (z, c, n, v, c and not z, n == v, n == v and not z, True)[condition >> 1]
    return result != bool(condition & 1) if condition != 15 else True


def simulate_adr_adrp(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """ADR and ADRP."""
    immediate = _field(word, 5, 19) << 2 | _field(word, 29, 2)
    immediate -= immediate >> 20 << 21
    value = (address & ~0xFFF) + (immediate << 12) if word >> 31 else address + immediate
    _set(regs, word & 31, value)
    regs.pc += 4


def simulate_b_bl(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """B and BL."""
    if word >> 31:
        regs.regs[30] = address + 4
    regs.pc = address + _offset(word, 0, 26)


def simulate_b_cond(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """B.cond."""
    regs.pc = address + (_offset(word, 5, 19) if condition_holds(word & 15, regs.pstate) else 4)


def simulate_br_blr_ret(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """BR, BLR and RET, up to v6.17."""
    simulate = simulate_ret if _field(word, 21, 2) == 2 else simulate_br_blr
    simulate(word, address, regs, read)


def simulate_br_blr(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """BR and BLR. The target is read before x30 is written, for BLR x30."""
    target = _get(regs, _field(word, 5, 5))
    if _field(word, 21, 2) == 1:
        regs.regs[30] = address + 4
    regs.pc = target


def simulate_ret(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """RET."""
    regs.pc = _get(regs, _field(word, 5, 5))


def simulate_cbz_cbnz(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """CBZ and CBNZ, 32 and 64 bits."""
    value = _get(regs, word & 31) & (_MASK if word >> 31 else 0xFFFF_FFFF)
    taken = (value != 0) == bool(_field(word, 24, 1))
    regs.pc = address + (_offset(word, 5, 19) if taken else 4)


def simulate_tbz_tbnz(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """TBZ and TBNZ."""
    bit = _field(word, 31, 1) << 5 | _field(word, 19, 5)
    taken = _get(regs, word & 31) >> bit & 1 == _field(word, 24, 1)
    regs.pc = address + (_offset(word, 5, 14) if taken else 4)


def simulate_ldr_literal(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """LDR (literal), 32 and 64 bits."""
    data = read(address + _offset(word, 5, 19) & _MASK, 8 if word >> 30 & 1 else 4)
    _set(regs, word & 31, int.from_bytes(data, "little"))
    regs.pc += 4


def simulate_ldrsw_literal(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """LDRSW (literal)."""
    data = read(address + _offset(word, 5, 19) & _MASK, 4)
    _set(regs, word & 31, int.from_bytes(data, "little", signed=True))
    regs.pc += 4


def simulate_nop(word: int, address: int, regs: PtRegs, read: ReadMemory) -> None:
    """NOP. The only simulator that clears PSTATE.BTYPE (arm64_skip_faulting_instruction)."""
    regs.pc += 4
    regs.pstate &= ~BTYPE


SIMULATORS: Final[dict[str, Simulator]] = {
    function.__name__: function
    for function in (
        simulate_adr_adrp,
        simulate_b_bl,
        simulate_b_cond,
        simulate_br_blr_ret,
        simulate_br_blr,
        simulate_ret,
        simulate_cbz_cbnz,
        simulate_tbz_tbnz,
        simulate_ldr_literal,
        simulate_ldrsw_literal,
        simulate_nop,
    )
}


def simulate(
    word: int, address: int, regs: PtRegs, era: str | Era = DEFAULT_ERA, memory: ReadMemory | None = None
) -> None:
    """Execute instruction `word`, located at `address`, on `regs`, as that era's kernel simulates it.

    The era decides which instructions are simulated, not how. `memory` reads (address, size in bytes) and is needed
    only for literal loads. Raises ValueError for a word that is not 32 bits, an instruction that is not simulated or a
    literal load without `memory`, and ProbeError for an unknown era. Exceptions of `memory` are passed on.
    """
    decoded = decode(word, era)
    if not decoded.simulator:
        raise ValueError(f"{word:#010x} is not simulated: {decoded.reason or 'it is executed in a slot'}")

    def no_memory(address: int, size: int) -> bytes:
        raise ValueError(f"{word:#010x} loads {size} bytes from {address:#x}: pass `memory` to read them with")

    SIMULATORS[decoded.simulator](word, address, regs, memory or no_memory)
