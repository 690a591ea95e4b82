# SPDX-License-Identifier: GPL-2.0-or-later
"""A64 instructions that the machine and the probes write to memory or search for there (Arm ARM, C6.2)."""

from __future__ import annotations

from typing import Final

NOP: Final = 0xD503_201F
WFI: Final = 0xD503_207F
RET: Final = 0xD65F_03C0  # to x30
# For one register and for two: a mask and the masked value (C4.1.94, "Load/store exclusive").
_STORES_EXCLUSIVE: Final = (0x3FE0_0000, 0x0800_0000), (0xBFE0_0000, 0x8820_0000)


def brk(immediate: int) -> int:
    """The word of BRK #immediate."""
    return 0xD420_0000 | immediate << 5


def hvc(immediate: int) -> int:
    """The word of HVC #immediate."""
    return 0xD400_0002 | immediate << 5


def is_store_exclusive(word: int) -> bool:
    """Whether `word` is STXR, STLXR, STXP or STLXP, of any size."""
    return any(word & mask == rest for mask, rest in _STORES_EXCLUSIVE)
