# SPDX-License-Identifier: GPL-2.0-or-later
"""The `struct pt_regs` that the kretprobe trampoline saves on the guest's stack."""

from __future__ import annotations

from armprobe.machine import Machine, MachineError

from .pt_regs import StackRegs

Pieces = list[tuple[int, int]]
"""Physical addresses and lengths in bytes."""


class SavedFrame:
    """Reads and writes the frame in one machine's memory. `size` is in bytes."""

    def __init__(self, machine: Machine, size: int) -> None:
        self._machine = machine
        self.size = size

    def read(self, base: int) -> tuple[Pieces, StackRegs] | None:
        """The pieces of memory that hold the frame at virtual address `base`, and its registers.

        None if there is no memory.
        """
        try:
            pieces = self._machine.memory.pieces(base, self.size)
        except MachineError:
            return None
        saved = []
        for physical, length in pieces:
            ram = self._machine.bus.ram_at(physical)
            if ram is None:
                return None
            saved.append(ram.data[physical - ram.base : physical - ram.base + length])
        return pieces, StackRegs(b"".join(saved))

    def write(self, pieces: Pieces, regs: StackRegs) -> None:
        """Write `regs` back. Memory.write would also drop translated code, and a stack has none."""
        done = 0
        for physical, length in pieces:
            self._machine.bus.write(physical, bytes(regs.memory[done : done + length]))
            done += length
