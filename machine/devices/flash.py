# SPDX-License-Identifier: GPL-2.0-or-later
"""An erased, read-only NOR flash, where QEMU's virt board has the flash for firmware settings.

U-Boot reads its settings from there first, and uses its defaults if there are none."""

from __future__ import annotations


class Flash:
    """A flash with all bits set. Writes, including CFI commands, do nothing."""

    name = "flash"
    timed = False

    def read(self, offset: int, size: int) -> int:
        """Read erased bytes."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Ignore a write."""
