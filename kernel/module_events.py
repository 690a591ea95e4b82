# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells when a Linux guest loads and unloads modules.

do_init_module() is called when a module is in the list and before its own initialisation runs. When it returns, the
initialisation is over, and its code is about to be freed. free_module() takes a module out of the list. All series have
both functions (kernel/module.c, kernel/module/main.c since 5.19).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from armprobe.machine import Machine

_BEFORE: Final = "do_init_module"
_ENTRIES: Final = (_BEFORE, "free_module")

Listener = Callable[[Machine], None]


class ModuleEvents:
    """Calls listeners when a module is about to be initialised, has been initialised, and has been removed.

    The guest is then between two instructions. It is watched only while somebody listens. A listener looks at the
    list of modules, and may be called although that has not changed.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._listeners: list[Listener] = []
        self._watched: dict[int, Listener] = {}

    @property
    def available(self) -> bool:
        """Whether this kernel has the functions that are watched: it has modules, and its symbols are known."""
        return all(self._machine.symbols.in_kernel(name) is not None for name in _ENTRIES)

    def listen(self, listener: Listener) -> None:
        """Call `listener` from now on."""
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            for name in _ENTRIES:
                symbol = self._machine.symbols.in_kernel(name)
                if symbol is not None:
                    self._watch(symbol.address, self._before if name == _BEFORE else self._entered)

    def unlisten(self, listener: Listener) -> None:
        """Undo a `listen`."""
        self._listeners.remove(listener)
        if not self._listeners:
            for address, function in self._watched.items():
                self._machine.unintercept(address, function)
            self._watched.clear()

    def _watch(self, address: int, function: Listener) -> None:
        if address not in self._watched:
            self._watched[address] = function
            self._machine.intercept(address, function)

    def _before(self, machine: Machine) -> None:
        self._tell(machine)
        self._entered(machine)

    def _entered(self, machine: Machine) -> None:
        """Watch the place that the function returns to: one of a few calls in the kernel, which is watched for good."""
        if self._listeners:
            self._watch(machine.core.load().x[30], self._tell)

    def _tell(self, machine: Machine) -> None:
        for listener in list(self._listeners):
            listener(machine)
