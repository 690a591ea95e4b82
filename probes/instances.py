# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that kretprobes wait for.

The kernel keeps a list of instances for each task, newest first. Here the stack pointer identifies them: on return it
has the same value as at entry (AAPCS64, 6.4.5.2), and no other task has that value. So no knowledge of the guest's
tasks is needed.

A call that ends without returning (longjmp, a task that ends) leaks its instance: the kernel has one fewer from then
on, and reports nothing. Here the instance goes back to its pool, and is counted, when an enclosing call returns.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from typing import Final

from .journal import Journal
from .kretprobe import Kretprobe, KretprobeInstance

Pools = dict[str, list[int]]  # JSON
_STACK: Final = 16 << 10  # bytes (THREAD_SIZE): an address farther away is on another stack


class Instances:
    """The outstanding instances, and the kretprobes they belong to."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_sp: dict[int, list[KretprobeInstance]] = {}
        self._sps: list[int] = []  # its keys, sorted
        self.newest_order = 0  # of the last linked call
        self._kretprobes: dict[int, Kretprobe] = {}
        self._serials = itertools.count(1)

    @property
    def any(self) -> bool:
        """Whether there is a call, leaked ones included."""
        return bool(self._by_sp)

    def outstanding(self) -> list[KretprobeInstance]:
        """The calls that have not returned yet."""
        return [call for calls in self._by_sp.values() for call in calls if not call.leaked]

    def add(self, rp: Kretprobe) -> None:
        """Give `rp`, which is being registered, its pool."""
        rp.serial = next(self._serials)
        self._kretprobes[rp.serial] = rp
        rp.free = [KretprobeInstance(rp) for _ in range(rp.maxactive)]

    def forget(self, rp: Kretprobe) -> None:
        """`rp` is no longer registered. Its outstanding calls return without it."""
        self._kretprobes.pop(rp.serial, None)
        for instance in self.outstanding():
            if instance.rp is rp:
                instance.rp = None
        rp.free = []

    def link(self, instance: KretprobeInstance) -> None:
        """Keep a call whose return address has been taken. The instance's fields describe the call."""
        self._put(instance)
        self.newest_order += 1
        instance.order = self.newest_order
        serial = 0 if instance.rp is None else instance.rp.serial
        instance.place = self._journal.add(instance.sp, instance.following, serial, instance.number, instance.memory)

    def unlink(self, sp: int, trampoline: int) -> list[KretprobeInstance]:
        """Remove and return the instances of the function that returned with `sp`, newest first. May be empty.

        All but the last have the trampoline as return address: several kretprobes on one function, or a tail call.
        """
        instances = self._by_sp.get(sp)
        if instances is None or (i := _first(instances, trampoline)) < 0:
            return []
        chain = instances[i:][::-1]
        at = bisect_left(self._sps, sp)
        if i:
            del instances[i:]
        else:
            del self._by_sp[sp], self._sps[at]
        for instance in chain:
            self._journal.remove(instance.place)
        while at and sp - self._sps[at - 1] < _STACK:
            at -= 1
            self._look_for_leaks(self._sps[at], chain[-1].task, chain[0].order)
        return chain

    def _look_for_leaks(self, sp: int, task: int, order: int) -> None:
        """Count calls made within a returned call as leaked the first time, and drop them the second time.

        In between, a leaked call that returns after all still has its return address.
        """
        calls = self._by_sp[sp]
        for call in list(calls):
            if call.task == task and call.order > order:
                if not call.leaked:
                    self._leak(call)
                else:
                    calls.remove(call)
                    self._journal.remove(call.place)
        if not calls:
            del self._by_sp[sp], self._sps[bisect_left(self._sps, sp)]

    def abandon(self, order: int, task: int) -> None:
        """Free the instances of the calls that `task` has made since the one numbered `order`: they will not return."""
        for sp in list(self._sps):
            calls = self._by_sp[sp]
            for call in [call for call in calls if call.order > order and call.task == task]:
                calls.remove(call)
                self._journal.remove(call.place)
                if not call.leaked:
                    self.release(call)
            if not calls:
                del self._by_sp[sp], self._sps[bisect_left(self._sps, sp)]

    def release(self, instance: KretprobeInstance) -> None:
        """Put `instance`, which is not linked, back into its pool: its call will not return."""
        if instance.rp is not None:
            instance.rp.give_back(instance)

    def _put(self, instance: KretprobeInstance) -> None:
        calls = self._by_sp.get(instance.sp)
        if calls is None:
            self._by_sp[instance.sp] = [instance]
            insort(self._sps, instance.sp)
        else:
            calls.append(instance)

    def _leak(self, instance: KretprobeInstance) -> None:
        instance.leaked = True
        rp = instance.rp
        if rp is not None:
            rp.counts.leaked += 1
            instance.rp = None
            rp.give_back(KretprobeInstance(rp))

    def newest(self, sp: int) -> int:
        """The stack pointer of the newest call that was entered below `sp` on the same stack; `sp` if there is none."""
        at = bisect_left(self._sps, sp)
        below = self._sps[bisect_left(self._sps, sp - _STACK) : at]
        return max(below, key=lambda each: self._by_sp[each][-1].order, default=sp)

    def last(self, sp: int, trampoline: int) -> KretprobeInstance | None:
        """The last instance that `unlink` would return, with the caller's address in it. None if there is none."""
        instances = self._by_sp.get(sp, [])
        i = _first(instances, trampoline)
        return instances[i] if i >= 0 else None

    def above(self, address: int) -> int | None:
        """The lowest stack pointer, not below `address`, at the entry of an outstanding call. None if there is none."""
        at = bisect_left(self._sps, address)
        return self._sps[at] if at < len(self._sps) else None

    def redirect(self, instance: KretprobeInstance, address: int) -> None:
        """Make an outstanding call return to virtual `address`."""
        instance.ret_addr = instance.following = address
        self._journal.redirect(instance.place, address)

    def pools(self) -> Pools:
        """The guest memory of unused instances, by the serial number of their kretprobe."""
        known = {str(rp.serial): [instance.memory for instance in rp.free] for rp in self._kretprobes.values()}
        return {serial: memories for serial, memories in known.items() if any(memories)}

    def restore(self, journal: int | None, pools: Pools) -> None:
        """Take over the outstanding calls from the journal at that address, after the machine's memory was replaced.

        `pools` is its value from then. Handlers of kretprobes that are still registered will be called. `data` is lost.
        """
        self._by_sp.clear()
        self._sps.clear()
        for rp in self._kretprobes.values():
            rp.free = [KretprobeInstance(rp) for _ in range(rp.maxactive)]
            for instance, memory in zip(rp.free, pools.get(str(rp.serial), ()), strict=False):
                instance.memory = memory
        for place, entry in self._journal.resume(journal) if journal is not None else []:
            known = self._kretprobes.get(entry.serial)
            instance = known.free.pop() if known is not None and known.free else KretprobeInstance(None)
            instance.memory = entry.memory
            instance.sp, instance.ret_addr, instance.number = entry.sp, entry.ret_addr, entry.number
            instance.following, instance.entered = entry.ret_addr, None
            instance.place = place
            self.newest_order += 1
            instance.task, instance.order = 0, self.newest_order
            self._put(instance)


def _first(instances: list[KretprobeInstance], trampoline: int) -> int:
    """The index at which the newest call begins: the last instance with a real caller. -1 if there is none."""
    i = len(instances) - 1
    while i >= 0 and instances[i].following == trampoline:
        i -= 1
    return i
