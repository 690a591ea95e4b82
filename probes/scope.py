# SPDX-License-Identifier: GPL-2.0-or-later
"""The names in expressions that are evaluated at a stage of a hit."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from armprobe.expressions import Called, Scope
from armprobe.expressions.environment import ELAPSED, POSITION
from armprobe.expressions.typed import Value
from armprobe.kernel import Linux, typed_memory
from armprobe.kernel.trace_events import TraceEvent
from armprobe.kernel.types import Type, Types
from armprobe.kernel.variables import Variable
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS

from .record import REGISTERS, Stage
from .trace_field import field_value
from .tracepoint import PREFIX

_REGISTERS: Final = (*REGISTERS, "cpsr", *SYSTEM_REGISTERS, ELAPSED, POSITION)
"""With GDB's numbers for the first of them (GDB manual, "AArch64 Features")."""
_KERNEL: Final = 1 << 63  # the lowest address of the kernel's half
_ENTRY_STAGES: Final = (Stage.PRE, Stage.ENTRY, None)


class GuestScope(Scope):
    """The names at `stage` of a hit in a machine's guest, or without it where the guest is stopped.

    `where` is the address of the probe, None if it is not known. `name` is the function's, if its user has named it, or
    an event's, such as "t:sched:sched_switch".
    """

    registers = _REGISTERS

    def __init__(self, machine: Machine, stage: Stage | None, where: int | None = None, name: str = "") -> None:
        self._machine = machine
        self._where, self._name, self._at_entry = where, name, stage in _ENTRY_STAGES
        self.returned = stage is Stage.RETURN
        self.in_kernel = machine.kernel is not None and (where is None or where >= _KERNEL)
        self.event = _event(machine, name)
        self.event_name = "" if self.event is None else self.event.full_name
        self.cpu_offset = typed_memory(machine).cpu_offset_register
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
            elsewhere = "here it has returned (an entry_handler in Python can keep it in ri.data)"
        elif offset:
            elsewhere = f"this is {name}+{offset:#x}"
        elif not self._at_entry:
            elsewhere = "this is after its first instruction"
        try:
            return Called(name, typed_memory(self._machine).function(name, symbol.address), elsewhere=elsewhere)
        except MachineError as error:
            return Called(name, None, str(error), elsewhere)

    def field(self, name: str) -> Value | None:
        """The field of the event, if the name of the place is an event's; None for an unknown name."""
        if self.event is None:
            return None
        return field_value(self.event, name, typed_memory(self._machine).types)

    @property
    def fields(self) -> list[str]:
        """The names of the fields of the event."""
        return [] if self.event is None else [each.name for each in self.event.fields]

    def is_text(self, name: str) -> bool:
        """Whether the event has a field `name` with characters."""
        return self.event is not None and any(each.name == name and each.is_text for each in self.event.fields)

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


def _event(machine: Machine, name: str) -> TraceEvent | None:
    """The event of the guest's kernel that a place `name` is; None for other places and for unknown events."""
    kernel = machine.kernel
    if not name.startswith(PREFIX) or not isinstance(kernel, Linux) or kernel.tracepoints is None:
        return None
    try:
        return kernel.tracepoints.get(name.removeprefix(PREFIX))
    except MachineError:
        return None
