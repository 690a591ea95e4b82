# SPDX-License-Identifier: GPL-2.0-or-later
"""A64 instructions that the machine and the probes write into memory or look for there (Arm ARM, C6.2)."""

from __future__ import annotations

from typing import Final

NOP: Final = 0xD503_201F


def brk(immediate: int) -> int:
    """The word of BRK #immediate."""
    return 0xD420_0000 | immediate << 5


def hvc(immediate: int) -> int:
    """The word of HVC #immediate."""
    return 0xD400_0002 | immediate << 5
