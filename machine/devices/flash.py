# SPDX-License-Identifier: GPL-2.0-or-later
"""A NOR flash that is erased and cannot be written, where QEMU's virt board has the one that firmware keeps its
settings in: U-Boot reads them before anything else, and takes its own where there are none."""

from __future__ import annotations


class Flash:
    """All bits are set; writes, CFI commands among them, do nothing."""

    name = "flash"

    def read(self, offset: int, size: int) -> int:
        """Erased bytes."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Nothing happens."""
