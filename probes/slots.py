# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots: an instruction to execute out of line, and the breakpoint that ends it (v5.10, commit 7ee31a3aa8f4)."""

from __future__ import annotations

import struct
from typing import Final

from armprobe.machine import Machine
from armprobe.machine.counter_access import find_sites

from .site import KPROBES_BRK_SS_IMM, brk

SIZE: Final = 8  # bytes


class Slots:
    """Hands out the slots of one machine, the lowest free one first."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def take(self, word: int) -> int:
        """The address of a slot for instruction `word`. Raises MachineError when none is left."""
        slot = self._machine.scratch.allocate(SIZE)
        self._machine.scratch.write(slot, struct.pack("<2I", word, brk(KPROBES_BRK_SS_IMM)))
        # The machine answers the guest's accesses to timer registers where they stand; this is such a place now.
        self._machine.counter_access.watch(find_sites(struct.pack("<I", word), slot))
        return slot

    def give_back(self, slot: int) -> None:
        """The slot is not used any more."""
        if not any((slot, writes) in self._machine.counter_access.sites for writes in (False, True)):
            self._machine.scratch.free(slot, SIZE)
