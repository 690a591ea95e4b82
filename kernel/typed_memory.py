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
from .types import Function, NoTypes, Type, Types
from .value import Value


class TypedMemory:
    """The memory of a machine, with the types of its guest."""

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
        if symbols.module_at(address) is not None:
            raise MachineError("the types of modules are not read")
        if len(symbols.named(name)) > 1:
            raise MachineError(f"several functions are called {name}, and the type information has one of them")
        return self.types.function(name)

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
