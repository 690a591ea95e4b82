# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of the guest from inside a run, for conditions, notes and the debugger's tracepoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from armprobe.expressions.environment import ELAPSED, POSITION
from armprobe.machine import Machine, MachineError
from armprobe.machine.devices.timer import FREQUENCY

from .pt_regs import PtRegs
from .record import Stage

if TYPE_CHECKING:
    from .registration import Kprobes


RECORD: Final = 0x00EE_0000_0000_0000
"""The address of the record of an event in expressions: none of the guest's."""


class GuestView:
    """A machine at an instruction (armprobe.expressions.View), as it would be without probes."""

    def __init__(self, machine: Machine, kprobes: Kprobes) -> None:
        self._machine = machine
        self._kprobes = kprobes

    @property
    def general(self) -> Sequence[int]:
        """x0 to x30, sp and pc."""
        return self._machine.core.context.x

    @property
    def vectors(self) -> bytes:
        """v0 to v31."""
        return self._machine.core.load().vector_bytes()

    @property
    def microseconds(self) -> int:
        """Guest time since reset."""
        return self._machine.clock.now * 1_000_000 // FREQUENCY

    def register(self, name: str) -> int:
        """A register by gdb's name. Raises MachineError."""
        if name == POSITION:
            return self._machine.instructions
        return self._kprobes.unwind.x30 if name == "x30" else self._machine.registers[name]

    def read(self, address: int, length: int) -> bytes:
        """Virtual memory. Raises MachineError."""
        data = self._machine.core.read_virtual(address, length)
        if data is None:  # memory that the guest itself may not read: at EL0, or with PAN
            data = self._machine.memory.read(address, length)
        return self._kprobes.unwind.with_callers(address, self._kprobes.unpatched(address, data))


class HitView(GuestView):
    """A machine at a stage of a hit. Its registers are those of pt_regs.

    `elapsed` is the time in ns of the call that returns, None if it is not known. It is set before it is read.
    """

    elapsed: int | None = None
    record = b""
    """What is at the address `RECORD`: a record of an event."""

    def at(self, stage: Stage, regs: PtRegs) -> Self:
        """Show this stage from now on."""
        self._stage, self._regs = stage, regs
        return self

    @property
    def general(self) -> Sequence[int]:
        """x0 to x30, sp and pc, from pt_regs."""
        return self._regs.words

    def read(self, address: int, length: int) -> bytes:
        """Virtual memory, or the record. Raises MachineError."""
        if address >> 48 != RECORD >> 48:
            return super().read(address, length)
        at = address - RECORD
        if not 0 <= at <= len(self.record) - length:
            raise MachineError("the record of the event ends before that")
        return self.record[at : at + length]

    def register(self, name: str) -> int:
        """A register by gdb's name. At the return x30 is the trampoline's address, as in the kernel."""
        if name == "cpsr":
            return self._regs.pstate
        if name == ELAPSED:
            if self.elapsed is None:
                raise MachineError("the time is not known: the machine was put into another state since the call")
            return self.elapsed
        if name == ("sp_el1" if self._regs.pstate & 1 else "sp_el0"):  # it is in SP (Arm ARM, SPSel)
            return self._regs.sp
        if name == "x30" and self._stage is Stage.RETURN:
            return self._regs.regs[30]
        return super().register(name)
