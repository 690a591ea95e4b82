# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots: where instructions are executed out of line."""

from __future__ import annotations

import bisect
import struct
from typing import Final

from armprobe.machine import Machine, MachineError
from armprobe.machine.counter_access import find_sites

from .site import Site
from .stepping import REACH, BranchStepping
from .text import Text

_NEAR: Final = BranchStepping.size


class Slots:
    """Hands out the slots of one machine, the lowest free one first."""

    def __init__(self, machine: Machine, text: Text) -> None:
        self._machine = machine
        self._text = text
        self._near: list[int] | None = None  # those for branches that are free, highest first

    def take(self, site: Site) -> None:
        """Give `site` a slot for its instruction. Raises MachineError when none is left."""
        machine, stepping = self._machine, site.stepping
        slot = machine.scratch.allocate(stepping.size) if stepping.post else self._take_near(site.addr)
        code = struct.pack(f"<{stepping.size // 4}I", *stepping.words(site, slot))
        if stepping.post:
            machine.scratch.write(slot, code)
        else:
            machine.memory.write(slot, code)
        # The machine answers the guest's accesses to timer registers where they stand; this is such a place now.
        machine.counter_access.watch(find_sites(code[:4], slot))
        site.slot = slot

    def give_back(self, site: Site) -> None:
        """The slot of `site` is not used any more."""
        machine, slot = self._machine, site.slot
        site.slot = 0
        if any((slot, writes) in machine.counter_access.sites for writes in (False, True)):
            return
        if site.stepping.post:
            machine.scratch.free(slot, site.stepping.size)
        else:
            machine.memory.write(slot, bytes(site.stepping.size))
            machine.scratch.give_up(slot, site.stepping.size)
            if self._near is not None:
                bisect.insort(self._near, slot, key=lambda free: -free)

    def restore(self) -> None:
        """The machine's memory is another, and who uses what in it is part of its state."""
        self._near = None

    def _take_near(self, address: int) -> int:
        """A slot that B reaches from `address`: in the padding between the guest's text and the end of its pages.

        Raises MachineError where there is none.
        """
        scratch = self._machine.scratch
        if self._near is None:
            places = (place for start, end in self._text.padding() for place in range(start, end - _NEAR + 1, _NEAR))
            self._near = sorted((place for place in places if place not in scratch), reverse=True)
        for i in range(len(self._near) - 1, -1, -1):
            if abs(self._near[i] - address) < REACH - _NEAR:
                scratch.adopt(self._near[i], _NEAR)
                return self._near.pop(i)
        raise MachineError("no padding of the guest's text is within the 128 MiB that a branch reaches: step by brk")
