# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own page tables while the CPU has others: page table isolation (CONFIG_UNMAP_KERNEL_AT_EL0).

At EL0 TTBR1_EL1 then has tramp_pg_dir, which maps only the vectors. This table lies up to three pages below
swapper_pg_dir (arch/arm64/kernel/vmlinux.lds.S), whose address VMCOREINFO tells (crash_save_vmcoreinfo_init).
"""

from __future__ import annotations

import re
from typing import Final

from armprobe.machine import Machine

_PAGE: Final = 4096
_ROOT: Final = 0x0000_FFFF_FFFF_F000  # of TTBR1_EL1: the table's physical address
_BETWEEN: Final = 3 * _PAGE  # tramp_pg_dir, reserved_pg_dir; before 5.11 reserved_ttbr0 of up to two pages
_ROOTS: Final = 64  # known roots, at most: a guest can make up any number
_NAME: Final = b"SYMBOL(swapper_pg_dir)="
_TABLE: Final = re.compile(re.escape(_NAME) + rb"([0-9a-f]{16})\n")
_DISTANCE: Final = re.compile(rb"NUMBER\(kimage_voffset\)=0x([0-9a-f]{1,16})\n")
_NOTE: Final = 4096  # bytes: VMCOREINFO_BYTES
_MASK: Final = (1 << 64) - 1


class PageTables:
    """The page tables of one machine's Linux."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[int, int] = {}

    def of_kernel(self, ttbr1: int) -> int:
        """The value of TTBR1_EL1 with which the kernel is mapped: `ttbr1` itself, unless it is the trampoline's."""
        root = ttbr1 & _ROOT
        table = self._known.get(root)
        if table is None:
            if len(self._known) >= _ROOTS:
                self._known.clear()
            table = self._known[root] = self._find(root)
        return ttbr1 & ~_ROOT | table

    def _find(self, root: int) -> int:
        """The root of swapper_pg_dir if `root` is that of tramp_pg_dir, else `root`."""
        ram = self._machine.ram
        first, last = max(root - ram.base, 0), root - ram.base + _PAGE
        upper = bytes(ram.data[first:last])
        if sum(1 for at in range(0, len(upper), 8) if upper[at] & 1) > 1:
            return root  # the trampoline's has one entry; the kernel's has one for itself and one for all of RAM
        at = ram.pages.find(_NAME)
        while at >= 0:
            note = bytes(ram.data[max(at - _NOTE, 0) : at + _NOTE])
            table, distance = _TABLE.search(note), _DISTANCE.search(note)
            if table and distance:
                swapper = int(table[1], 16) - int(distance[1], 16) & _MASK
                if 0 < swapper - root <= _BETWEEN and ram.base <= swapper < ram.base + ram.size and not swapper % _PAGE:
                    return swapper
            at = ram.pages.find(_NAME, at + 1)
        return root
