# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that the guest throws away: initialisation code once it has run, and modules that are unloaded.

The kernel marks the probes there as gone (kill_kprobe in kernel/kprobes.c) and never touches that memory again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from armprobe.machine import Machine

from .site import Site
from .text import PAGE, Text

_FARTHEST: Final = 128 << 20  # bytes: modules are in one region of that size (arch/arm64/kernel/module.c)


class Departures:
    """Tells when text that has breakpoints of ours goes away. `gone` is called with their addresses."""

    def __init__(
        self, machine: Machine, text: Text, sites: Mapping[int, Site], gone: Callable[[Iterable[int]], None]
    ) -> None:
        self._machine, self._text, self._sites, self._gone = machine, text, sites, gone
        self._watched: dict[int, Callable[[Machine], None]] = {}  # what is called at the functions that free text

    def watch(self, address: int) -> None:
        """Look out for the end of the text at `address`, which has a breakpoint now."""
        if self._machine.kind != "linux":
            return  # another guest is asked when someone looks at its probes
        initial = self._text.area("_sinittext", "_einittext")
        if initial is not None and initial[0] <= address < initial[1]:
            self._intercept("free_initmem", self._initial_text_freed)
        elif self._machine.symbols.module_at(address) is not None:
            self._intercept("vfree", self._memory_freed)

    def unwatch(self) -> None:
        """There are no breakpoints any more."""
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
        self._gone([address for address in self._sites if initial[0] <= address < initial[1]])

    def _memory_freed(self, machine: Machine) -> None:
        """vfree(x0): areas of its kind are apart from each other, so what is mapped from there on is this one."""
        start = machine.cpu.load().x[0]
        near = sorted(address for address in self._sites if 0 <= address - start < _FARTHEST)
        end = start
        while near and end <= near[-1] and self._text.mapped(end):
            end += PAGE
        self._gone([address for address in near if address < end])
