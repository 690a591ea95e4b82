# SPDX-License-Identifier: GPL-2.0-or-later
"""The names in expressions that are evaluated at a stage of a hit."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from armprobe.expressions import Called, Scope
from armprobe.expressions.environment import ELAPSED
from armprobe.kernel import typed_memory
from armprobe.kernel.types import Type, Types
from armprobe.kernel.variables import Variable
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS

from .record import Stage

_REGISTERS: Final = (*(f"x{number}" for number in range(31)), "sp", "pc", "cpsr", *SYSTEM_REGISTERS, ELAPSED)
"""With GDB's numbers for the first of them (GDB manual, "AArch64 Features")."""
_KERNEL: Final = 1 << 63  # the lowest address of the kernel's half
_ENTRY_STAGES: Final = (Stage.PRE, Stage.ENTRY, None)


class GuestScope(Scope):
    """The names at `stage` of a hit in a machine's guest, or without it where the guest is stopped.

    `where` is the address of the probe, None if it is not known. `name` is the function's, if its user has named it.
    """

    registers = _REGISTERS

    def __init__(self, machine: Machine, stage: Stage | None, where: int | None = None, name: str = "") -> None:
        self._machine = machine
        self._where, self._name, self._at_entry = where, name, stage in _ENTRY_STAGES
        self.returned = stage is Stage.RETURN
        self.in_kernel = machine.kernel is not None and (where is None or where >= _KERNEL)
        self.depends = False
        """Whether an expression has asked for the function."""

    @property
    def task(self) -> tuple[int, int] | None:
        """The offsets of a task's name and number; None if they are unknown."""
        kernel = self._machine.kernel
        return kernel.tasks.offsets if kernel is not None and kernel.tasks is not None else None

    @cached_property
    def called(self) -> Called | None:
        """The function that has the place."""
        self.depends = True
        symbols = self._machine.symbols
        found = None if self._where is None else symbols.at(self._where)
        if found is None:
            return None
        symbol, offset = found
        name, elsewhere = self._name or symbol.name, ""
        if self.returned:
            elsewhere = "here it has returned"
        elif offset:
            elsewhere = f"this is {name}+{offset:#x}"
        elif not self._at_entry:
            elsewhere = "this is after its first instruction"
        try:
            return Called(name, typed_memory(self._machine).function(name, symbol.address), elsewhere=elsewhere)
        except MachineError as error:
            return Called(name, None, str(error), elsewhere)

    def register(self, name: str) -> int | None:
        """The number of a register; None for an unknown name."""
        return _REGISTERS.index(name) if name in _REGISTERS else None

    def symbol(self, name: str) -> int:
        """The address of a symbol. Raises MachineError for an unknown one."""
        return self._machine.symbols[name].address

    def type(self, name: str) -> Type | None:
        """The guest's type called `name`; None for an unknown name. Raises MachineError if no types are known."""
        return self._types.known(name)

    def enumerator(self, name: str) -> tuple[Type, int] | None:
        """The enumeration that has the constant `name`, and its number; None for an unknown name."""
        return self._types.enumerator(name)

    def variable(self, name: str) -> Variable | None:
        """The global variable called `name`; None if there is none. Raises MachineError if it cannot be read."""
        return typed_memory(self._machine).find_variable(name)

    @property
    def few_variables(self) -> str:
        """See `Scope.few_variables`."""
        return typed_memory(self._machine).few_variables

    @cached_property
    def _types(self) -> Types:
        """Those at the place: a module has its own."""
        self.depends = self.depends or bool(self._machine.symbols.modules)
        return typed_memory(self._machine).types_at(self._where)
