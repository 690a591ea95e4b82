# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own page tables while the CPU has others: page table isolation (CONFIG_UNMAP_KERNEL_AT_EL0).

At EL0 TTBR1_EL1 then has tramp_pg_dir, which maps only the vectors. This table lies up to three pages below
swapper_pg_dir (arch/arm64/kernel/vmlinux.lds.S), whose address VMCOREINFO tells (crash_save_vmcoreinfo_init).
"""

from __future__ import annotations

from typing import Final

from armprobe.machine import Machine
from armprobe.machine.memory.mmu import OUTPUT, PAGE

from .vmcoreinfo import candidates

_BETWEEN: Final = 3 * PAGE  # tramp_pg_dir, reserved_pg_dir; before 5.11 reserved_ttbr0 of up to two pages
_ROOTS: Final = 64  # known roots, at most: a guest can make up any number


class PageTables:
    """The page tables of one machine's Linux."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[int, int] = {}

    def of_kernel(self, ttbr1: int) -> int:
        """The value of TTBR1_EL1 with which the kernel is mapped: `ttbr1` itself, unless it is the trampoline's."""
        root = ttbr1 & OUTPUT
        table = self._known.get(root)
        if table is None:
            if len(self._known) >= _ROOTS:
                self._known.clear()
            table = self._known[root] = self._find(root)
        return ttbr1 & ~OUTPUT | table

    def _find(self, root: int) -> int:
        """The root of swapper_pg_dir if `root` is that of tramp_pg_dir, else `root`."""
        ram = self._machine.ram
        first, last = max(root - ram.base, 0), root - ram.base + PAGE
        upper = bytes(ram.data[first:last])
        if sum(1 for at in range(0, len(upper), 8) if upper[at] & 1) > 1:
            return root  # the trampoline's has one entry; the kernel's has one for itself and one for all of RAM
        for lines in candidates(self._machine):
            try:
                swapper = int(lines["SYMBOL(swapper_pg_dir)"], 16) - int(lines["NUMBER(kimage_voffset)"], 16)
            except (KeyError, ValueError):
                continue
            swapper &= (1 << 64) - 1
            if 0 < swapper - root <= _BETWEEN and ram.base <= swapper < ram.base + ram.size and not swapper % PAGE:
                return swapper
        return root
