# SPDX-License-Identifier: GPL-2.0-or-later
"""Suspends our breakpoints while the guest's own code reads or patches its text.

The guest believes that its text has the word under our breakpoint. So while a Linux guest puts a kprobe of its own
there, or patches the instruction, our breakpoint is removed. Afterwards it is put back over the new word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from armprobe.machine import Machine, MachineError
from armprobe.machine.core.core import Core

from .arming import Arming
from .guest_kprobes import ADDR_OFFSET
from .site import Site

_SCAN: Final = 128  # bytes before a probe that arch_prepare_kprobe reads, looking for exclusives

# The functions that read or patch text. True if x0 points to a struct kprobe with the address, False if x0 is the
# address.
_TEXT_FUNCTIONS: Final = {
    "arch_prepare_kprobe": True,
    "aarch64_insn_patch_text_nosync": False,
    "aarch64_insn_write": False,
    "__aarch64_insn_write": False,
    "aarch64_insn_read": False,
}


class SuspendedBreakpoints:
    """Suspends the breakpoints of one machine."""

    def __init__(self, machine: Machine, sites: Mapping[int, Site], arming: Arming) -> None:
        self._machine = machine
        self._sites = sites
        self._arming = arming
        self._suspended: set[Site] = set()
        self._suspensions: list[Callable[[], None]] = []  # functions that end the suspensions, also early
        self._watching: list[tuple[int, Callable[[Machine], None]]] = []
        machine.calls.on_begin.append(self._call_begins)

    def _call_begins(self, _: Core) -> Callable[[], None]:
        """Called when a guest function is called. The result ends the suspensions that it leaves unfinished."""
        before = list(self._suspensions)

        def abandon() -> None:
            for end in [each for each in self._suspensions if each not in before]:
                end()

        return abandon

    def watch(self) -> None:
        """Watch for the guest patching its text, while there are probes."""
        if self._sites and not self._watching:
            for name, indirect in _TEXT_FUNCTIONS.items():
                symbol = self._machine.symbols.get(name)
                if symbol is not None:
                    self._intercept(symbol.address, self._entered(indirect))
        elif not self._sites:
            for address, function in self._watching:
                self._machine.unintercept(address, function)
            self._watching.clear()
            self._suspensions.clear()

    def restore(self) -> None:
        """The machine's memory was replaced."""
        self._suspended.clear()
        self._suspensions.clear()
        for address, function in self._watching:
            self._machine.unintercept(address, function)
        self._watching.clear()
        self.watch()

    def _intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        self._watching.append((address, function))
        self._machine.intercept(address, function)

    def _entered(self, indirect: bool) -> Callable[[Machine], None]:
        def entered(machine: Machine) -> None:
            context = machine.core.load()
            address = context.x[0]
            first = address
            try:
                if indirect:
                    address = machine.memory.read_u64(address + ADDR_OFFSET)
                    first = address - _SCAN
            except MachineError:
                return  # the guest is about to fault itself
            suspended = [
                s for s in self._sites.values() if first <= s.addr <= address and s.armed and s not in self._suspended
            ]
            if suspended:
                self._suspend(suspended, context.x[30], context.sp)

        return entered

    def _suspend(self, sites: list[Site], return_address: int, sp: int) -> None:
        for site in sites:
            self._suspended.add(site)
            self._machine.memory.put(site.addr, site.word.to_bytes(4, "little"))

        def returned(machine: Machine) -> None:
            if machine.core.load().sp == sp:
                put_back()

        def put_back() -> None:
            self._suspensions.remove(put_back)
            self._watching.remove((return_address, returned))
            self._machine.unintercept(return_address, returned)
            for site in sites:
                self._suspended.discard(site)
                self._resume(site)

        self._suspensions.append(put_back)
        self._intercept(return_address, returned)

    def _resume(self, site: Site) -> None:
        """Put our breakpoint back where it was suspended."""
        if site.armed and self._sites.get(site.addr) is site:
            self._arming.rearm(site)
