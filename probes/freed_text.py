# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that the guest throws away: initialisation code once it has run, and modules that are unloaded.

The kernel marks the probes there as gone (kill_kprobe in kernel/kprobes.c) and never touches that memory again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from armprobe.kernel.text import PAGE, Text
from armprobe.machine import Machine

from .kprobe import GONE
from .site import Site

_FARTHEST: Final = 128 << 20  # bytes: modules are in one region of that size (arch/arm64/kernel/module.c)


class Departures:
    """Notices when text that has breakpoints of ours goes away.

    `sites` is the table of breakpoints; what goes is taken out of it, put into `gone`, and told to `lost`.
    """

    def __init__(self, machine: Machine, text: Text, sites: dict[int, Site], lost: Callable[[Site], None]) -> None:
        self._machine, self._text, self._sites, self._lost = machine, text, sites, lost
        self.gone: list[Site] = []
        self._watched: dict[int, Callable[[Machine], None]] = {}  # what is called at the functions that free text

    def look(self, sites: Iterable[Site | None]) -> None:
        """Find out which of `sites` are gone although nothing told of it."""
        self._kill(self._text.lost(site.addr for site in sites if site is not None and site.armed))

    def revive(self) -> None:
        """The machine has gone back, perhaps to when text was there that is gone now."""
        for site in list(self.gone):
            site.slot = 0
            if site.addr not in self._sites and self._text.mapped(site.addr):
                self.gone.remove(site)
                self._sites[site.addr] = site
                for probe in site.probes:
                    probe.flags &= ~GONE
                site.refresh()
                self.watch(site.addr)

    def _kill(self, addresses: Iterable[int]) -> None:
        for address in addresses:
            site = self._sites.pop(address)
            for probe in site.probes:
                probe.flags |= GONE
            site.refresh()
            self.gone.append(site)
            self._lost(site)

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
        self._kill([address for address in self._sites if initial[0] <= address < initial[1]])

    def _memory_freed(self, machine: Machine) -> None:
        """vfree(x0): areas of its kind are apart from each other, so what is mapped from there on is this one."""
        start = machine.core.load().x[0]
        near = sorted(address for address in self._sites if 0 <= address - start < _FARTHEST)
        end = start
        while near and end <= near[-1] and self._text.mapped(end):
            end += PAGE
        self._kill([address for address in near if address < end])
