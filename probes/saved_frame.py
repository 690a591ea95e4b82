# SPDX-License-Identifier: GPL-2.0-or-later
"""The `struct pt_regs` that the kretprobe trampoline saves on the guest's stack."""

from __future__ import annotations

import contextlib
from typing import Final

from armprobe.machine import Machine, MachineError
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.native.places import Recorder

from .pt_regs import StackRegs

Pieces = list[tuple[int, int]]
"""Physical addresses and lengths in bytes."""
_MOST_VIEWS: Final = 64  # a call loop uses one, a busy kernel some for each task


class SavedFrame:
    """Reads and writes the frame in one machine's memory. `size` is in bytes."""

    def __init__(self, machine: Machine, size: int) -> None:
        self._machine = machine
        self.size = size
        self._views: dict[int, StackRegs] = {}  # by physical address

    def read(self, base: int) -> tuple[Pieces, StackRegs] | None:
        """The registers in the frame at virtual address `base`. None if there is no memory.

        They are the memory itself, or a copy, which `write` with the other result puts back.
        """
        physical = self._machine.core.physical(base) if base & PAGE - 1 <= PAGE - self.size else None
        if physical is not None and (view := self._views.get(physical) or self._view(physical)) is not None:
            return [], view
        try:
            pieces = self._machine.memory.pieces(base, self.size)
        except MachineError:
            return None
        saved = bytearray()
        for physical, length in pieces:
            ram = self._machine.bus.ram_at(physical)
            if ram is None:
                return None
            saved += ram.data[physical - ram.base : physical - ram.base + length]
        return pieces, StackRegs(saved)

    def _view(self, physical: int) -> StackRegs | None:
        ram = self._machine.bus.ram_at(physical)
        if ram is None:
            return None
        if len(self._views) == _MOST_VIEWS:
            self._views.clear()
        start = physical - ram.base
        view = self._views[physical] = StackRegs(ram.data[start : start + self.size])
        return view

    def put(self, read: tuple[Pieces, StackRegs], regs: StackRegs) -> None:
        """Replace the registers of the frame that gave the result `read` by `regs`."""
        pieces, frame = read
        frame.memory[:] = regs.memory
        self.write(pieces, frame)

    def write(self, pieces: Pieces, regs: StackRegs) -> None:
        """Write `regs` back. Memory.write would also drop translated code, and a stack has none."""
        done = 0
        for physical, length in pieces:
            self._machine.bus.write(physical, bytes(regs.memory[done : done + length]))
            done += length


class KeptFrame:
    """The registers that C keeps while a return handler runs, besides the frame on one machine's stack.

    The frame has them as they were before the handler. `stored` says whether those of now have been stored there.
    """

    def __init__(self, machine: Machine, recorder: Recorder) -> None:
        self._machine, self._recorder = machine, recorder
        self.regs = StackRegs(memoryview(recorder.frame_regs).cast("B"))
        self.stored = False

    def store(self) -> None:
        """Put them where the trampoline has them: the guest executes something that uses the stack below."""
        data, memory = bytes(self.regs.memory), self._machine.memory
        with contextlib.suppress(MachineError):  # the stack is gone
            for physical, length in memory.pieces(self._recorder.frame_at, len(data)):
                self._machine.bus.write(physical, data[:length])
                data = data[length:]
        self.stored = True
