# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshots of a session, by the names that its user has given them."""

from __future__ import annotations

from typing import Final

from armprobe.machine import Machine, Snapshot, Stop
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import CommandError

_MOST: Final = 2 << 30
"""Bytes of memory from which on no more are taken: a debugger may ask for any number."""


@lazy_dataclass
class NamedSnapshot:
    """A snapshot, the guest time in seconds when it was taken, and the stop that the guest was at."""

    name: str
    snapshot: Snapshot
    seconds: float
    address: int
    stop: Stop


class Snapshots:
    """Named snapshots of one machine, in the order in which they were taken. For the owner's thread."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._by_name: dict[str, NamedSnapshot] = {}

    def take(self, name: str, stop: Stop) -> bool:
        """Keep the present state as `name`. Returns whether it replaces another of that name. Raises CommandError."""
        replaced = self._by_name.pop(name, None)
        if (size := self._machine.checkpoints.size) > _MOST and replaced is None:
            raise CommandError(f"snapshots take {size >> 20} MiB of memory: delete some, with snapshots delete=NAME")
        machine = self._machine
        address, seconds = machine.registers.pc, machine.clock.seconds
        self._by_name[name] = NamedSnapshot(name, machine.snapshot(), seconds, address, stop)
        return replaced is not None

    def named(self, name: str) -> NamedSnapshot:
        """The snapshot of that name. Raises CommandError if there is none."""
        if name not in self._by_name:
            there = ", ".join(self._by_name)
            hint = f"there are {there}" if there else "snapshot NAME takes one"
            raise CommandError(f"there is no snapshot {name!r}: {hint}")
        return self._by_name[name]

    def delete(self, name: str) -> None:
        """Forget a snapshot. Raises CommandError if there is none of that name."""
        self.named(name)
        del self._by_name[name]

    def all(self) -> list[NamedSnapshot]:
        """The snapshots, in the order in which they were taken."""
        return list(self._by_name.values())
