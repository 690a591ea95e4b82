# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's memory as values of its own types."""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

from armprobe.machine import Machine, MachineError

from .btf import Btf
from .dwarf import Dwarf
from .split_btf import module_types, why_no_module_types
from .types import Function, NoTypes, Type, Types
from .value import Value
from .variables import Variable, untyped


class TypedMemory:
    """The memory of a machine, with the types of its guest."""

    cpu_offset_register = ""
    """The register that has what is added to the address of a per-CPU variable; empty for a guest without these."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def read(self, address: int, type: Type | str) -> Value:
        """The value of a type, such as `struct task_struct`, at an address. Memory is read when it is needed.

        Raises MachineError for an unknown type.
        """
        return Value(self.machine.memory, self._known, self._named(type), address)

    def cast(self, number: int, type: Type | str) -> Value:
        """`number`, such as a register, as a value of a type, such as `struct file *`. Raises as `read` does."""
        return Value(self.machine.memory, self._known, self._named(type), number=number)

    def _named(self, type: Type | str) -> Type:
        return self.types.type(type) if isinstance(type, str) else type

    @property
    def _known(self) -> Types:
        try:
            return self.types
        except MachineError as error:
            return NoTypes(str(error))

    def function(self, name: str, address: int) -> Function:
        """The prototype of the function `name` at `address`. Raises MachineError, saying why, if it is not known."""
        symbols = self.machine.symbols
        module = symbols.module_at(address)
        named = symbols.named(name) if module is None else symbols.modules[module].named(name)
        if sum(each.kind == "function" and symbols.module_at(each.address) == module for each in named) > 1:
            raise MachineError(f"several functions are called {name}, and the type information has one of them")
        if module is None:
            return self.types.function(name)
        types = self._module_types(module)
        if types is None:
            raise MachineError(why_no_module_types(self.types, module))
        return types.function(name)

    def types_at(self, address: int | None) -> Types:
        """The types that are known in the code at `address`: those of its module, and the kernel's.

        Raises MachineError as `types` does, and for a module whose types are damaged.
        """
        module = None if address is None else self.machine.symbols.module_at(address)
        return (None if module is None else self._module_types(module)) or self.types

    def _module_types(self, module: str) -> Types | None:
        return module_types(self.machine, module, self.types if isinstance(self.types, Btf) else None)

    def find_variable(self, name: str) -> Variable | None:
        """The global variable `name`; None if there is none. Raises MachineError, saying why, if it cannot be read."""
        symbol = self.machine.symbols.get(name)
        if symbol is None or symbol.kind != "object":
            return None
        try:
            kind = self.types.variable(name)
        except MachineError:  # there are no types
            kind = None
        return Variable(symbol.address, kind, "" if kind else untyped(name))

    @property
    def few_variables(self) -> str:
        """A clause for users whose variable is not found, which says that most are not known; empty if they are."""
        return ""

    def variable(self, name: str) -> Value:
        """The global variable `name`, such as `init_task`. Raises MachineError if it or its type is not known."""
        found = self.find_variable(name)
        if found is None or found.type is None:
            raise MachineError(found.why if found else f"no variable {name} is known in this guest")
        return self.read(found.address, found.type)

    @cached_property
    def types(self) -> Types:
        """The guest's types by name, from a kernel's BTF or else from the debug information of the guest's file.

        Raises MachineError, saying why, if there are none or they cannot be read now.
        """
        dwarf = self.machine.guest.dwarf
        try:
            btf = Btf.of(self.machine) if "_stext" in self.machine.symbols else None
        except MachineError:  # damaged, or not mapped yet
            if dwarf is None:
                raise
            btf = None
        if btf is not None:
            return btf
        if dwarf is None:
            raise MachineError("this guest has no type information: neither BTF, nor DWARF in its file or a vmlinux")
        return Dwarf(dwarf)


_KNOWN: Final[WeakKeyDictionary[Machine, TypedMemory]] = WeakKeyDictionary()


def typed_memory(machine: Machine) -> TypedMemory:
    """The memory of a machine's guest: its kernel, if it is one."""
    if machine.kernel is not None:
        return machine.kernel
    if machine not in _KNOWN:
        _KNOWN[machine] = TypedMemory(weakref.proxy(machine))
    return _KNOWN[machine]
