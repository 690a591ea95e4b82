# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that kretprobes wait for.

The kernel keeps a list of instances for each task, newest first. Here they are found by the stack pointer, which is
on return what it was at entry (AAPCS64, 6.4.5.2) and which no other task has: so nothing need be known of the guest's
tasks.
"""

from __future__ import annotations

import itertools

from .journal import Journal
from .kretprobe import Kretprobe, KretprobeInstance


class Instances:
    """The instances outstanding, and the kretprobes they belong to."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_sp: dict[int, list[KretprobeInstance]] = {}
        self._kretprobes: dict[int, Kretprobe] = {}
        self._serials = itertools.count(1)

    def outstanding(self) -> list[KretprobeInstance]:
        """The calls that have not returned yet."""
        return [instance for instances in self._by_sp.values() for instance in instances]

    def add(self, rp: Kretprobe) -> None:
        """`rp` is registered: give it its pool."""
        rp.serial = next(self._serials)
        self._kretprobes[rp.serial] = rp
        rp.free = [KretprobeInstance(rp) for _ in range(rp.maxactive)]

    def forget(self, rp: Kretprobe) -> None:
        """`rp` is no longer registered; the calls outstanding will return without it."""
        self._kretprobes.pop(rp.serial, None)
        for instance in self.outstanding():
            if instance.rp is rp:
                instance.rp = None
        rp.free = []

    def link(self, instance: KretprobeInstance) -> None:
        """The return address of a call has been taken; the instance's fields say which."""
        self._by_sp.setdefault(instance.sp, []).append(instance)
        serial = 0 if instance.rp is None else instance.rp.serial
        instance.place = self._journal.add(instance.sp, instance.following, serial, instance.number)

    def unlink(self, sp: int, trampoline: int) -> list[KretprobeInstance]:
        """The instances of the function that returned with `sp`, newest first; empty if there is none.

        All but the last have the trampoline as return address: several kretprobes on one function, or a tail call.
        """
        instances = self._by_sp.get(sp, [])
        i = _first(instances, trampoline)
        if i < 0:
            return []
        chain = instances[i:][::-1]
        del instances[i:]
        if not instances:
            del self._by_sp[sp]
        for instance in chain:
            self._journal.remove(instance.place)
        return chain

    def last(self, sp: int, trampoline: int) -> KretprobeInstance | None:
        """The last of what `unlink` would give, whose return address is the caller's; None if there is none."""
        instances = self._by_sp.get(sp, [])
        i = _first(instances, trampoline)
        return instances[i] if i >= 0 else None

    def above(self, address: int) -> int | None:
        """The lowest stack pointer that a call outstanding was entered with and that is not below `address`."""
        return min((sp for sp in self._by_sp if sp >= address), default=None)

    def redirect(self, instance: KretprobeInstance, address: int) -> None:
        """Have a call that is outstanding return to virtual `address`."""
        instance.ret_addr = instance.following = address
        self._journal.redirect(instance.place, address)

    def restore(self, journal: int | None) -> None:
        """The machine's memory is another: have outstanding what the journal at that address says.

        Handlers of kretprobes that are still registered will be called; `data` is lost.
        """
        self._by_sp.clear()
        for rp in self._kretprobes.values():
            rp.free = [KretprobeInstance(rp) for _ in range(rp.maxactive)]
        for place, entry in self._journal.resume(journal) if journal is not None else []:
            known = self._kretprobes.get(entry.serial)
            instance = known.free.pop() if known is not None and known.free else KretprobeInstance(None)
            instance.sp, instance.ret_addr, instance.number = entry.sp, entry.ret_addr, entry.number
            instance.following = entry.ret_addr
            instance.place = place
            self._by_sp.setdefault(entry.sp, []).append(instance)


def _first(instances: list[KretprobeInstance], trampoline: int) -> int:
    """Where in the list the newest call begins, at the last instance with a caller to return to; -1 if it does not."""
    i = len(instances) - 1
    while i >= 0 and instances[i].following == trampoline:
        i -= 1
    return i
