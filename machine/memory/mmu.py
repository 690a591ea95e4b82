# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the guest's stage 1 page tables: EL1&0 regime, 4 KiB granule, up to 48 bits (Arm ARM, D8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from armprobe.machine.lazy_dataclass import lazy_dataclass

PAGE: Final = 4096
OUTPUT: Final = 0x0000_FFFF_FFFF_F000  # of a descriptor or TTBR: the physical address
SCTLR_M: Final = 1  # of SCTLR_EL1: the MMU is on


class TranslationRegisters(NamedTuple):
    """The registers that control translation: SCTLR_EL1, TCR_EL1, TTBR0_EL1 and TTBR1_EL1."""

    sctlr: int
    tcr: int
    ttbr0: int
    ttbr1: int


class TranslationFault(Exception):
    """An address has no valid mapping. `level` is the table level (0 to 3) at which the walk ended."""

    def __init__(self, address: int, level: int, why: str) -> None:
        super().__init__(f"{address:#x} is not mapped by the guest ({why})")
        self.address, self.level = address, level


@lazy_dataclass
class Mapping:
    """The mapping of a virtual address: physical address, bytes left in its page or block, attributes, descriptor."""

    physical: int
    remaining: int
    writable: bool
    user: bool
    executable: bool
    descriptor: int = 0


def table_root(registers: TranslationRegisters, upper: bool) -> tuple[int, int, int]:
    """The top-level table of the lower or upper range: physical address, level, and the bits of address it covers.

    Raises ValueError when the range is disabled or its granule is not 4 KiB.
    """
    tcr = registers.tcr
    size, granule, four_kib, disabled = (
        (tcr >> 16 & 63, tcr >> 30 & 3, 2, tcr >> 23 & 1) if upper else (tcr & 63, tcr >> 14 & 3, 0, tcr >> 7 & 1)
    )
    if disabled:
        raise ValueError("walks of this range are disabled in TCR_EL1")
    if granule != four_kib:
        raise ValueError("only the 4 KiB granule is supported")
    bits = 64 - size
    if not 25 <= bits <= 48:
        raise ValueError(f"TCR_EL1 asks for {bits} address bits")
    return (registers.ttbr1 if upper else registers.ttbr0) & OUTPUT, 4 - (bits - 4) // 9, bits


def translate(registers: TranslationRegisters, read_u64: Callable[[int], int], address: int) -> Mapping:
    """Translate a virtual address. `read_u64` reads a table entry at a physical address.

    Raises TranslationFault when the guest maps nothing there.
    """
    if not registers.sctlr & SCTLR_M:
        return Mapping(address, PAGE - address % PAGE, True, True, True)
    upper = bool(address >> 55 & 1)
    tagged = registers.tcr >> (38 if upper else 37) & 1
    try:
        table, level, bits = table_root(registers, upper)
    except ValueError as error:
        raise TranslationFault(address, 0, str(error)) from None
    top = (address >> bits) & ((1 << (56 if tagged else 64) - bits) - 1)
    if top != (((1 << (56 if tagged else 64) - bits) - 1) if upper else 0):
        raise TranslationFault(address, 0, "outside the ranges of TCR_EL1")
    writable = user = executable = True
    table_forbids_user = False
    width = bits
    while True:
        shift = 12 + 9 * (3 - level)
        index = address >> shift & ((1 << width - shift) - 1)
        try:
            entry = read_u64(table + index * 8)
        except ValueError:
            raise TranslationFault(address, level, "its page table lies outside memory") from None
        kind = entry & 3
        if not kind & 1 or (kind == 1 and level in (0, 3)):
            raise TranslationFault(address, level, f"its level {level} entry is invalid")
        if level == 3 or kind == 1:
            break
        writable &= not entry >> 62 & 1
        table_forbids_user |= bool(entry >> 61 & 1)
        executable &= not entry >> 59 & 1
        table, width, level = entry & OUTPUT, shift, level + 1
    offset = address & (1 << shift) - 1
    user = bool(entry >> 6 & 1) and not table_forbids_user
    writable &= not entry >> 7 & 1
    return Mapping(
        (entry & OUTPUT & ~((1 << shift) - 1)) | offset,
        (1 << shift) - offset,
        writable,
        user,
        executable and not entry >> 53 & 1 and not (user and writable),  # EL1 never executes what EL0 can write
        entry,
    )
