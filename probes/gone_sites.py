# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints whose code the guest has freed.

The kernel marks the probes there as gone (kill_kprobe in kernel/kprobes.c) and never touches that memory again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from armprobe.kernel.freed_text import FreedText
from armprobe.kernel.text import Text
from armprobe.machine import Machine

from .kprobe import GONE
from .site import Site


class GoneSites:
    """Notices when code that has breakpoints of ours goes away.

    `sites` is the table of breakpoints. A site whose code is gone moves from there to `gone`, and `lost` is called with
    it.
    """

    def __init__(self, machine: Machine, text: Text, sites: dict[int, Site], lost: Callable[[Site], None]) -> None:
        self._text, self._sites, self._lost = text, sites, lost
        self._watcher = FreedText(machine, text, sites, self._kill)
        self.gone: list[Site] = []
        self.watch, self.unwatch = self._watcher.watch, self._watcher.unwatch

    def look(self, sites: Iterable[Site | None]) -> None:
        """Find out which of `sites` are gone without any notification."""
        self._kill(self._text.lost(site.addr for site in sites if site is not None and site.armed))

    def revive(self) -> None:
        """The machine has gone back, perhaps to a time when text that is gone now still existed."""
        for site in list(self.gone):
            site.slot = 0
            if site.addr not in self._sites and self._text.mapped(site.addr):
                self.gone.remove(site)
                self._sites[site.addr] = site
                for probe in site.probes:
                    probe.flags &= ~GONE
                site.refresh()
                self._watcher.watch(site.addr)

    def _kill(self, addresses: Iterable[int]) -> None:
        for address in addresses:
            site = self._sites.pop(address)
            for probe in site.probes:
                probe.flags |= GONE
            site.refresh()
            self.gone.append(site)
            self._lost(site)
