# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that a kernel frees: its initialisation code at the end of its boot, and modules that are unloaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from armprobe.kernel.text import PAGE, Text
from armprobe.machine import Machine

_FARTHEST: Final = 128 << 20  # bytes: modules are in one region of that size (arch/arm64/kernel/module.c)


class FreedText:
    """Calls `freed` when the kernel is about to free code, with those of `addresses` that are in it."""

    def __init__(
        self, machine: Machine, text: Text, addresses: Collection[int], freed: Callable[[list[int]], None]
    ) -> None:
        self._machine, self._text, self._addresses, self._freed = machine, text, addresses, freed
        self._watched: dict[int, Callable[[Machine], None]] = {}  # by the addresses of functions that free text

    def watch(self, address: int) -> None:
        """Watch the functions of the kernel that free the code at `address`, if it has such."""
        initial = self._text.area("_sinittext", "_einittext")
        if initial is not None and initial[0] <= address < initial[1]:
            self._intercept("free_initmem", self._initial_text_freed)
        elif self._machine.symbols.module_at(address) is not None:
            self._intercept("vfree", self._memory_freed)

    def unwatch(self) -> None:
        """Stop watching."""
        for address, function in self._watched.items():
            self._machine.unintercept(address, function)
        self._watched.clear()

    def _intercept(self, name: str, function: Callable[[Machine], None]) -> None:
        symbol = self._machine.symbols.get(name)
        if symbol is not None and symbol.address not in self._watched:
            self._watched[symbol.address] = function
            self._machine.intercept(symbol.address, function)

    def _initial_text_freed(self, machine: Machine) -> None:
        initial = self._text.area("_sinittext", "_einittext")
        assert initial is not None
        self._freed([address for address in self._addresses if initial[0] <= address < initial[1]])

    def _memory_freed(self, machine: Machine) -> None:
        """vfree(x0). There are gaps between such areas, so everything mapped from x0 to the next gap is freed."""
        start = machine.core.load().x[0]
        near = sorted(address for address in self._addresses if 0 <= address - start < _FARTHEST)
        end = start
        while near and end <= near[-1] and self._text.mapped(end):
            end += PAGE
        self._freed([address for address in near if address < end])
