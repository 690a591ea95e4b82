# SPDX-License-Identifier: GPL-2.0-or-later
"""Suspends our breakpoints while the guest's own code reads or patches its text.

The guest believes that its text has the word under our breakpoint. So while a Linux guest puts a kprobe of its own
there, or patches the instruction, our breakpoint is removed. Afterwards it is put back over the new word.

A site without a breakpoint needs none of this, and is hit faster where nothing else is hooked: its next hit finds what
the guest has patched (`is_unchanged` in places.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from armprobe.machine import Machine
from armprobe.machine.core.core import Core
from armprobe.machine.native.text_watch import TextWatch

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
        self._watches: list[TextWatch] = []
        self._removed: list[TextWatch] = []  # one may be what asks at the moment
        self._returns: list[tuple[int, Callable[[Machine], None]]] = []
        self._changes = 0  # of `arming`, when the watches were last told where there are breakpoints
        machine.calls.on_begin.append(self._call_begins)
        machine.scheduler.before_slice.append(self._before_slice)

    def _call_begins(self, _: Core) -> Callable[[], None]:
        """Called when a guest function is called. The result ends the suspensions that it leaves unfinished."""
        before = list(self._suspensions)

        def abandon() -> None:
            for end in [each for each in self._suspensions if each not in before]:
                end()

        return abandon

    def watch(self) -> None:
        """Probes were registered or unregistered. The slice that is under way may patch what was probed just now."""
        if self._machine.clock.running is not None:
            self._before_slice()

    def _before_slice(self) -> None:
        """Watch for the guest patching its text, while there are breakpoints in it."""
        if self._changes == self._arming.changes:
            return
        self._changes = self._arming.changes
        addresses = [site.addr for site in self._sites.values() if site.armed and not site.hooked]
        if not addresses:
            self._stop()
            return
        if not self._watches:
            for name, indirect in _TEXT_FUNCTIONS.items():
                symbol = self._machine.symbols.get(name)
                if symbol is not None:
                    self._watches.append(self._watch(symbol.address, indirect))
        for watch in self._watches:
            watch.watch(addresses)

    def _watch(self, function: int, indirect: bool) -> TextWatch:
        core = self._machine.core
        before, member = (_SCAN, ADDR_OFFSET) if indirect else (0, None)

        def entered() -> None:
            try:
                self._entered(core, before, member)
            except BaseException as error:
                core.fail(error)

        watch = TextWatch(core.native.address, function, entered, before, member)
        core.forget([function])  # code translated earlier does not call the hook
        return watch

    def _stop(self) -> None:
        self._removed = self._watches
        for watch in self._watches:
            watch.remove()
        self._watches = []
        for address, function in self._returns:
            self._machine.unintercept(address, function)
        self._returns.clear()
        self._suspensions.clear()

    def restore(self) -> None:
        """The machine's memory was replaced."""
        self._suspended.clear()
        self._stop()
        self._changes = -1
        self.watch()

    def _entered(self, core: Core, before: int, member: int | None) -> None:
        """A function that reads or patches text where there are sites is about to run."""
        core.context.load()
        context = core.context
        address = context.x[0] if member is None else self._machine.memory.u64(context.x[0] + member)
        suspended = [
            site
            for site in self._sites.values()
            if address - before <= site.addr <= address and site.armed and site not in self._suspended
        ]
        if suspended:
            self._suspend(suspended, context.x[30], context.sp)

    def _suspend(self, sites: list[Site], return_address: int, sp: int) -> None:
        for site in sites:
            self._suspended.add(site)
            self._machine.memory.put(site.addr, site.word.to_bytes(4, "little"))

        def returned(machine: Machine) -> None:
            if machine.core.load().sp == sp:
                put_back()

        def put_back() -> None:
            self._suspensions.remove(put_back)
            self._returns.remove((return_address, returned))
            self._machine.unintercept(return_address, returned)
            for site in sites:
                self._suspended.discard(site)
                self._resume(site)

        self._suspensions.append(put_back)
        self._returns.append((return_address, returned))
        self._machine.intercept(return_address, returned)

    def _resume(self, site: Site) -> None:
        """Put our breakpoint back where it was suspended."""
        if site.armed and self._sites.get(site.addr) is site:
            self._arming.rearm(site)
