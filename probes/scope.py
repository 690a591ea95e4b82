# SPDX-License-Identifier: GPL-2.0-or-later
"""The names in expressions that are evaluated at a stage of a hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from armprobe.machine import Machine
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS

from .record import Stage

_REGISTERS: Final = (*(f"x{number}" for number in range(31)), "sp", "pc", "cpsr", *SYSTEM_REGISTERS)
"""With GDB's numbers for the first of them (GDB manual, "AArch64 Features")."""


class GuestScope:
    """The names at `stage` of a hit in a machine's guest (armprobe.expressions.Scope)."""

    registers: Sequence[str] = _REGISTERS

    def __init__(self, machine: Machine, stage: Stage) -> None:
        self._machine = machine
        self.returned = stage is Stage.RETURN

    @property
    def task(self) -> tuple[int, int] | None:
        """The offsets of a task's name and number; None if they are unknown."""
        kernel = self._machine.kernel
        return kernel.tasks.offsets if kernel is not None and kernel.tasks is not None else None

    def register(self, name: str) -> int | None:
        """The number of a register; None for an unknown name."""
        return _REGISTERS.index(name) if name in _REGISTERS else None

    def symbol(self, name: str) -> int:
        """The address of a symbol. Raises MachineError for an unknown one."""
        return self._machine.symbols[name].address
