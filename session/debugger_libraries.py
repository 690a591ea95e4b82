# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules that a Linux guest has loaded, as the shared libraries of a debugger."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Final

from armprobe.kernel import Linux
from armprobe.machine import Machine, Stop, StopReason, Symbols
from armprobe.machine.state import Order
from armprobe.stub import Library

from .symbol_file import SymbolSources, symbol_file

_FOLDER: Final = "/armprobe/modules"


class DebuggerLibraries:
    """The modules of one machine as its debugger knows them. Use it on the owner's thread.

    A module has another number, and its file another name, when its symbols are others: after its initialisation, whose
    code is freed, or when it is loaded again.
    """

    def __init__(self, machine: Machine, warn: Callable[[str], None]) -> None:
        """`warn` is called with the reason each time a module's types cannot be read."""
        self._machine, self._warn = machine, warn
        self._events = None if machine.kernel is None else machine.kernel.module_events
        self._told: dict[str, Symbols] | None = None  # by the name of the file; None if no debugger has asked
        self._numbers: dict[Symbols, int] = {}
        self._last = 0  # number
        self.stale = False
        """Whether the machine was put into another state since the debugger has asked."""
        machine.state.on_restored(Order.GUEST, self._state_restored)

    @property
    def possible(self) -> bool:
        """Whether this guest can load modules that are known here."""
        return self._events is not None and self._events.available

    def read(self) -> Sequence[Library]:
        """The modules that are loaded now. From now on the debugger is told of changes."""
        if self._told is None and self._events is not None:
            self._events.listen(self._stop_if_changed)
        modules = self._machine.symbols.modules
        numbers = {}
        for symbols in modules.values():
            if symbols not in self._numbers:
                self._last += 1
            numbers[symbols] = self._numbers.get(symbols, self._last)
        libraries = [Library(_path(name, numbers[symbols]), numbers[symbols]) for name, symbols in modules.items()]
        self._numbers, self.stale = numbers, False
        self._told = {each.name: symbols for each, symbols in zip(libraries, modules.values(), strict=True)}
        return libraries

    def knows(self, name: str) -> bool:
        """Whether the debugger was told of a file of that name."""
        return self._told is not None and name in self._told

    def file(self, name: str) -> io.BytesIO:
        """The file of that name, an ELF with the module's symbols and types."""
        symbols = (self._told or {}).get(name, Symbols())
        module = next((name for name, each in self._machine.symbols.modules.items() if each is symbols), "")
        if isinstance(kernel := self._machine.kernel, Linux) and (found := kernel.module_files.loaded(module)):
            file, places = found
            return io.BytesIO(file.at(places))
        return io.BytesIO(symbol_file(SymbolSources.of_module(self._machine, module, symbols), self._warn))

    def forget(self) -> None:
        """The debugger is gone."""
        if self._told is not None and self._events is not None:
            self._events.unlisten(self._stop_if_changed)
        self._told, self._numbers = None, {}

    def changed_by_restoring(self) -> bool:
        """Whether the debugger must be told, as the machine was put into another state."""
        self.stale = False
        return self._changed()

    def _state_restored(self) -> None:
        self.stale = self._told is not None

    def _changed(self) -> bool:
        return self._told is not None and list(self._told.values()) != list(self._machine.symbols.modules.values())

    def _stop_if_changed(self, machine: Machine) -> None:
        if self._changed():
            machine.request_stop(Stop(StopReason.MODULES, machine.core.load().pc))


def _path(module: str, number: int) -> str:
    return f"{_FOLDER}/{number}/{re.sub(r'[^A-Za-z0-9_.+-]', '_', module)}.ko"
