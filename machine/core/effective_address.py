# SPDX-License-Identifier: GPL-2.0-or-later
"""The first virtual address that a load or store accesses (Arm ARM, C4.1, "Loads and Stores", and C6.2)."""

from __future__ import annotations

from collections.abc import Sequence

_MASK64 = (1 << 64) - 1


def effective_address(word: int, x: Sequence[int]) -> int | None:
    """The lowest address that instruction `word` accesses with the registers `x`; None if it accesses none.

    `x` has x0 to x30, SP and PC. Covers the instructions of ARMv8.0 to 8.3, and DC ZVA, for which the result is
    the first byte of the block. The result has no tag (D8.9) and no authentication code (D8.10): where an access
    succeeds, bits 63 to 56 are as bit 55 but for these.
    """
    base = x[word >> 5 & 31]  # register 31 is SP here
    if word & 0xFFFF_FFE0 == 0xD50B_7420:  # DC ZVA
        return _canonical(_register(x, word & 31) & ~63)
    if word >> 25 & 5 != 4:
        return None
    offset = 0
    if word & 0x3B00_0000 == 0x1800_0000:  # literal
        base, offset = x[32], 4 * _signed(word >> 5, 19)
    elif word & 0x3A00_0000 == 0x2800_0000:  # pair
        opc, vector = word >> 30, word >> 26 & 1
        if word >> 23 & 3 != 1:  # not post-index
            offset = _signed(word >> 15, 7) << (2 + opc if vector else 2 + (opc >> 1))
    elif word & 0x3B00_0000 == 0x3900_0000:  # unsigned offset
        offset = (word >> 10 & 0xFFF) << _scale(word)
    elif word & 0x3B20_0C00 == 0x3820_0800:  # register offset
        index, option = _register(x, word >> 16 & 31), word >> 13 & 7
        if option == 2:  # UXTW
            index &= 0xFFFF_FFFF
        elif option == 6:  # SXTW
            index = (index & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
        offset = index << (_scale(word) if word >> 12 & 1 else 0)
    elif word & 0x3B20_0400 == 0x3820_0400:  # LDRAA, LDRAB
        offset = 8 * _signed(word >> 22 << 9 | word >> 12 & 0x1FF, 10)
    elif word & 0x3B20_0000 == 0x3800_0000:
        if word >> 10 & 3 != 1:  # not post-index: unscaled, unprivileged, pre-index
            offset = _signed(word >> 12, 9)
    elif word & 0x3F20_0C00 == 0x1900_0000:  # LDAPUR, STLUR
        offset = _signed(word >> 12, 9)
    return _canonical(base + offset)


def unprivileged(word: int) -> bool:
    """Whether `word` is an LDTR or STTR of any size, which accesses memory with EL0's permissions."""
    return word & 0x3F20_0C00 == 0x3800_0800


def _canonical(address: int) -> int:
    return _signed(address, 56) & _MASK64


def _register(x: Sequence[int], number: int) -> int:
    return 0 if number == 31 else x[number]


def _scale(word: int) -> int:
    size, vector = word >> 30, word >> 26 & 1
    return 4 if vector and size == 0 and word >> 23 & 1 else size


def _signed(field: int, bits: int) -> int:
    field &= (1 << bits) - 1
    return field - (field >> bits - 1 << bits)
