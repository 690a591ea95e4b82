# SPDX-License-Identifier: GPL-2.0-or-later
"""LEB128: the integers of variable length in DWARF (DWARF 5, 7.6)."""


def uleb128(number: int) -> bytes:
    """`number`, not negative, as an unsigned LEB128."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
