# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots: memory in which instructions are executed out of line."""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping
from typing import Final

from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.register_access import Access, find_sites
from armprobe.machine.memory.scratch import Role
from armprobe.machine.state import Order

from .errors import ProbeError
from .site import Site
from .stepping import REACH, BranchStepping

_NEAR: Final = BranchStepping.size


class Slots:
    """Hands out the slots of one machine, the lowest free one first.

    The list of taken slots is part of the machine's state, as their contents are.
    """

    STATE = ("taken",)

    def __init__(self, machine: Machine, text: Text) -> None:
        self._machine = machine
        self._text = text
        self.taken: list[list[int]] = []  # each taken slot, its size in bytes and the address of its instruction
        self._places: list[int] = []  # all slots for branches, highest first
        self._near: list[int] = []  # the free ones among them, in reverse of the order in which they are given out
        machine.state.join("slots", self, Order.PROBES)

    def take(self, site: Site) -> None:
        """Give `site` a slot for its instruction. Raises ProbeError (ENOMEM) when none is left."""
        machine, stepping = self._machine, site.stepping
        try:
            slot = machine.scratch.allocate(stepping.size) if stepping.post else self._take_near(site.addr)
        except MachineError as error:
            raise ProbeError(errno.ENOMEM, f"there is no slot left for the instruction: {error}") from None
        code = _code(site, slot)
        if stepping.post:
            # The trampoline's own instructions do not count.
            machine.scratch.write_code(slot, code, Role.EXTRA if machine.scratch.is_extra(site.addr) else Role.STANDS)
        else:
            machine.memory.put(slot, code)
        # The machine emulates the guest's accesses to timer registers by address. The slot may be one more such
        # address.
        machine.core.register_access.watch(find_sites(code[:4], slot))
        site.slot = slot
        self.taken.append([slot, stepping.size, site.addr])

    def give_back(self, site: Site) -> None:
        """Free the slot of `site`."""
        slot, site.slot = site.slot, 0
        self._free(next(taken for taken in self.taken if taken[0] == slot))

    def _free(self, taken: list[int]) -> None:
        machine, (slot, size, _) = self._machine, taken
        if any((slot, access) in machine.core.register_access.sites for access in Access):
            return
        self.taken.remove(taken)
        if slot in self._places:
            # The end of a slot that ends in a branch is not noticed, so it keeps its contents and is used last.
            self._near.insert(0, slot)
        else:
            machine.scratch.free(slot, size)

    def restore(self, sites: Mapping[int, Site], running: Collection[int]) -> None:
        """After the machine's memory was replaced, give `sites` their slots in it and free the others.

        Slots in `running`, where instructions are being executed, are not freed.
        """
        used = {slot for slot, _, _ in self.taken}
        self._near = [place for place in self._places if place not in used]
        for taken in list(self.taken):
            slot, size, address = taken
            site = sites.get(address)
            if site is not None and not site.slot and size == site.stepping.size and self._holds(slot, site):
                site.slot = slot
            elif slot not in running:
                self._free(taken)

    def _holds(self, slot: int, site: Site) -> bool:
        try:
            return self._machine.memory.read(slot, site.stepping.size) == _code(site, slot)
        except MachineError:
            return False

    def _take_near(self, address: int) -> int:
        """A slot within reach of B from `address`, in the padding between the guest's text and the end of its pages.

        Raises MachineError if there is none.
        """
        if not self._places:
            padding = self._text.padding()
            places = (place for start, end in padding for place in range(start, end - _NEAR + 1, _NEAR))
            self._places = sorted(places, reverse=True)
            self._near = list(self._places)
        pc = self._machine.core.context.pc
        for i in range(len(self._near) - 1, -1, -1):
            slot = self._near[i]
            if abs(slot - address) < REACH - _NEAR and not slot <= pc < slot + _NEAR:
                self._machine.scratch.adopt(slot, _NEAR)
                return self._near.pop(i)
        raise MachineError("no padding of the guest's text is within the 128 MiB that a branch reaches: step by brk")


def _code(site: Site, slot: int) -> bytes:
    return struct.pack(f"<{site.stepping.size // 4}I", *site.stepping.words(site, slot))
