# SPDX-License-Identifier: GPL-2.0-or-later
"""The outstanding calls, kept in the machine's own memory so that a snapshot of the machine includes them.

The kernel keeps its instances in memory, too. An entry holds the stack pointer at the function's entry, the return
address, the serial number of the kretprobe, the number of the hit, the guest memory of the instance, and the position
in the order of entries.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from armprobe.machine import Machine

ENTRIES: Final = 512
_ENTRY: Final = struct.Struct("<2Q2I2Q")
_SIZE: Final = _ENTRY.size
_NOTHING: Final = bytes(_SIZE)
JOURNAL_SIZE: Final = ENTRIES * _SIZE  # bytes


class Entry(NamedTuple):
    """One call. The module's docstring describes the fields."""

    sp: int
    ret_addr: int
    serial: int
    number: int
    memory: int
    order: int


class Journal:
    """The journal of one machine. It holds at most `ENTRIES` calls. Later calls are not recorded."""

    def __init__(self, machine: Machine) -> None:
        self._scratch = machine.scratch
        self._data = machine.scratch.ram.data
        self._at = 0  # its start in `_data`
        self._free: list[int] = []
        self._order = 0

    def begin(self, address: int) -> None:
        """Start an empty journal at `address`, in memory from `Scratch.allocate`."""
        assert self._scratch.base is not None
        self._at = address - self._scratch.base
        self._data[self._at : self._at + JOURNAL_SIZE] = bytes(JOURNAL_SIZE)
        self._free = list(range(ENTRIES - 1, -1, -1))

    def add(self, sp: int, ret_addr: int, serial: int, number: int, memory: int) -> int:
        """Record a call. The result is the place to pass to `remove`."""
        if not self._free:
            return -1
        place = self._free.pop()
        self._order += 1
        at = self._at + place * _SIZE
        _ENTRY.pack_into(self._data, at, sp, ret_addr, serial, number & 0xFFFF_FFFF, memory, self._order)
        return place

    def redirect(self, place: int, ret_addr: int) -> None:
        """Record a new return address for the call."""
        if place >= 0:
            at = self._at + place * _SIZE
            sp, _, *rest = _ENTRY.unpack_from(self._data, at)
            _ENTRY.pack_into(self._data, at, sp, ret_addr, *rest)

    def remove(self, place: int) -> None:
        """Remove a call that has returned."""
        if place >= 0:
            at = self._at + place * _SIZE
            self._data[at : at + _SIZE] = _NOTHING
            self._free.append(place)

    def resume(self, address: int) -> list[tuple[int, Entry]]:
        """Use the journal in memory at `address`. Returns its entries with their places, oldest first."""
        assert self._scratch.base is not None
        self._at = address - self._scratch.base
        entries = [
            (place, Entry(*_ENTRY.unpack_from(self._data, self._at + place * _SIZE))) for place in range(ENTRIES)
        ]
        self._free = [place for place, entry in reversed(entries) if not entry.order]
        found = sorted((item for item in entries if item[1].order), key=lambda item: item[1].order)
        self._order = found[-1][1].order if found else 0
        return found
