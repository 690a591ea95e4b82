# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's own tables say of its code: where probes are forbidden, faults expected, branches patched."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from armprobe.machine import Machine, MachineError

from .era import Era
from .text import Text

_JUMP_ENTRY: Final = 16  # bytes: s32 code, s32 target, s64 key, each relative to itself (include/linux/jump_label.h)
_LIST_LIMIT: Final = 100_000


class Area(NamedTuple):
    """Addresses from `start` up to, not including, `end`, that must not be probed, and their name."""

    start: int
    end: int
    name: str


class Tables:
    """Reads the tables of one machine's guest; an absent table is empty."""

    def __init__(self, machine: Machine, text: Text, era: Era) -> None:
        self._machine = machine
        self._symbols = machine.symbols
        self._text = text
        self._era = era
        self._from_list: list[Area] | None = None
        self._cache: dict[str, frozenset[int]] = {}

    def blacklist(self) -> list[Area]:
        """Everything that must not be probed, as /sys/kernel/debug/kprobes/blacklist has it, in order of address."""
        areas = []
        for start, end in self._era.blacklist:
            found = self._text.area(start, end)
            if found is not None and found[0] < found[1]:
                areas.append(Area(*found, start.removeprefix("__").removesuffix("_start")))
        if self._from_list is None:
            self._from_list = self._kernel_list()
        areas += self._marked() if self._from_list is None else self._from_list
        return sorted(set(areas))

    def forbidden(self, address: int) -> Area | None:
        """The area of the blacklist that `address` is in, or None (within_kprobe_blacklist)."""
        areas = self.blacklist()
        candidates = [address]
        found = self._symbols.at(address)
        if found is not None and "." in found[0].name:
            # A part that the compiler split off a function (kfree.part.0) is as forbidden as the function.
            whole = self._symbols.get(found[0].name.split(".")[0])
            if whole is not None:
                candidates.append(whole.address)
        for candidate in candidates:
            for area in areas:
                if area.start <= candidate < area.end:
                    return area
        return None

    def may_fault(self, address: int) -> bool:
        """Whether the instruction has an entry in the exception table."""
        size = self._era.exception_entry
        return address in self._relative("__start___ex_table", "__stop___ex_table", size)

    def is_jump_label(self, address: int) -> bool:
        """Whether the instruction is a branch that the kernel turns on and off by patching."""
        return address in self._relative("__start___jump_table", "__stop___jump_table", _JUMP_ENTRY)

    def _relative(self, start: str, end: str, size: int) -> frozenset[int]:
        """The addresses that the first word of each entry is the distance to; sorting a table changes none."""
        if start not in self._cache:
            area = self._text.area(start, end)
            if area is None:
                return frozenset()
            try:
                data = self._text.read(area[0], area[1] - area[0])
            except MachineError:
                return frozenset()
            self._cache[start] = frozenset(
                area[0] + at + struct.unpack_from("<i", data, at)[0] for at in range(0, len(data) - size + 1, size)
            )
        return self._cache[start]

    def _kernel_list(self) -> list[Area] | None:
        """Linux's own blacklist once init_kprobes() has filled it: a list of {list_head; start; end}."""
        head = self._symbols.get("kprobe_blacklist")
        if head is None:
            return None
        areas: list[Area] = []
        memory = self._machine.memory
        try:
            entry = memory.read_u64(head.address)
            while entry != head.address and len(areas) < _LIST_LIMIT:
                following, _, start, end = struct.unpack("<4Q", memory.read(entry, 32))
                areas.append(Area(start, end, self._symbols.describe(start)))
                entry = following
        except MachineError:
            return None
        return areas or None

    def _marked(self) -> list[Area]:
        """The functions marked NOKPROBE_SYMBOL: addresses collected by the linker."""
        area = self._text.area("__start_kprobe_blacklist", "__stop_kprobe_blacklist")
        if area is None:
            return []
        try:
            data = self._text.read(area[0], area[1] - area[0])
        except MachineError:
            return []  # Linux frees it once it has made its list
        areas = []
        for (address,) in struct.iter_unpack("<Q", data[: len(data) & ~7]):
            found = self._symbols.at(address)
            if found is not None:
                areas.append(Area(address, address + max(found[0].size, 4), found[0].name))
        return areas
