# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's own tables say of its code: where probes are forbidden, faults expected, branches patched."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from armprobe.kernel.code_references import addresses_formed
from armprobe.kernel.guest_call import call_uninterrupted
from armprobe.machine import Machine, MachineError

from .eras import AREAS, Era
from .text import Text

_HEAD_WITHIN: Final = 0x100  # bytes: how far into the variable whose address is formed the list may begin
_JUMP_ENTRY: Final = 16  # bytes: s32 code, s32 target, s64 key, each relative to itself (include/linux/jump_label.h)
# An exception table entry: s32 insn, s32 fixup, each relative to itself; since v5.17 also s16 type, s16 data (commit
# d6e2cc564775). It is the guest's kernel that decides, not the era.
_EXCEPTION_ENTRIES: Final = (8, 12)
_NOP: Final = 0xD503_201F
_B: Final = 0b000101  # bits 31 to 26
_LIST_LIMIT: Final = 100_000
_MODULE_STATE_GOING: Final = 2  # enum module_state, include/linux/module.h; the first field of struct module


class Area(NamedTuple):
    """Addresses from `start` up to, not including, `end`, that must not be probed, and their name."""

    start: int
    end: int
    name: str

    def covers(self, other: Area) -> bool:
        """Whether all of `other` is in it."""
        return self.start <= other.start and other.end <= self.end


class Tables:
    """Reads the tables of one machine's guest; an absent table is empty."""

    def __init__(self, machine: Machine, text: Text, era: Era) -> None:
        self._machine = machine
        self._symbols = machine.symbols
        self._text = text
        self._era = era
        self._list: tuple[int, bytes, list[Area]] | None = None  # its head's address and content, and what it forbids
        self._from_symbols: list[Area] | None = None
        self._order: tuple[list[Area], list[int], list[int]] | None = None
        self._cache: dict[str, frozenset[int]] = {}

    def blacklist(self) -> list[Area]:
        """Everything that must not be probed, as /sys/kernel/debug/kprobes/blacklist has it, in order of address.

        A Linux guest's own list is followed, but for the areas that its kernel and the era differ in.
        """
        known = self._kernel_list()
        if known is not None:
            return known
        if self._from_symbols is not None:
            return self._from_symbols
        areas = sorted(self._marked() + self._areas(self._era.blacklist))
        if self._machine.kind != "linux":  # which is to make its list of them, and to free some
            self._from_symbols = areas
        return areas

    def _areas(self, names: Iterable[tuple[str, str]]) -> list[Area]:
        """The areas between these linker symbols, those that the guest has and that are not empty."""
        return [
            Area(*found, start.removeprefix("__").removesuffix("_start"))
            for start, end in names
            if (found := self._text.area(start, end)) is not None and found[0] < found[1]
        ]

    def _in_era(self, areas: list[Area]) -> list[Area]:
        """The list of the guest's kernel, as a kernel of the era would have made it."""
        allowed = self._areas(AREAS - set(self._era.blacklist))
        kept = [area for area in areas if not any(other.covers(area) for other in allowed)]
        return kept + [own for own in self._areas(self._era.blacklist) if not any(own.covers(area) for area in kept)]

    def forbidden(self, address: int) -> Area | None:
        """The area of the blacklist that `address` is in, or None (within_kprobe_blacklist)."""
        candidates = [address]
        found = self._symbols.at(address)
        if found is not None and "." in found[0].name:
            # A part that the compiler split off a function (kfree.part.0) is as forbidden as the function.
            whole = self._symbols.get(found[0].name.split(".")[0])
            if whole is not None:
                candidates.append(whole.address)
        areas, starts, ends = self._ordered()
        for candidate in candidates:
            for index in range(bisect_right(starts, candidate) - 1, -1, -1):
                if ends[index] <= candidate:  # neither does any before this one reach it
                    break
                if candidate < areas[index].end:
                    return areas[index]
        return None

    def _ordered(self) -> tuple[list[Area], list[int], list[int]]:
        """The blacklist, where its areas start, and the furthest end of any up to each."""
        areas = self.blacklist()
        if self._order is None or self._order[0] is not areas:
            self._order = areas, [area.start for area in areas], list(accumulate((area.end for area in areas), max))
        return self._order

    def is_leaving(self, address: int) -> bool:
        """Whether the module whose text has `address` is being unloaded."""
        module = self._ask("__module_text_address", address)
        try:
            return bool(module) and self._machine.memory.read_u32(module) == _MODULE_STATE_GOING
        except MachineError:
            return False

    def may_fault(self, address: int) -> bool:
        """Whether the instruction has an entry in the exception table."""
        if self._symbols.module_at(address):
            return bool(self._ask("search_exception_tables", address))
        symbols = "__start___ex_table", "__stop___ex_table"
        return address in self._relative(*symbols, _EXCEPTION_ENTRIES, "search_exception_tables")

    def is_jump_label(self, address: int) -> bool:
        """Whether the instruction is a branch that the kernel turns on and off by patching."""
        if self._symbols.module_at(address):
            word = self._text.read_u32(address)
            may_be = word == _NOP or word >> 26 == _B  # the guest looks at all there are, which takes its time
            return may_be and bool(self._ask("jump_label_text_reserved", address, address) & 0xFFFF_FFFF)
        symbols = "__start___jump_table", "__stop___jump_table"
        return address in self._relative(*symbols, (_JUMP_ENTRY,), "jump_label_text_reserved")

    def _ask(self, function: str, *arguments: int) -> int:
        """What a function of the guest's says; 0 if it cannot.

        Only the guest knows where the tables of a module are: in a struct that differs from build to build. These
        functions look at them and take no locks. With interrupts masked they are not preempted either.
        """
        try:
            return call_uninterrupted(self._machine, function, *arguments)
        except MachineError:
            return 0

    def _relative(self, start: str, end: str, sizes: Sequence[int], user: str) -> frozenset[int]:
        """The addresses that the first word of each entry is the distance to; sorting a table changes none.

        An entry has the one of `sizes` with which the most of them are in the text.
        """
        if start not in self._cache:
            area = self._text.area(start, end) or self._used_by(user)
            if area is None:
                return frozenset()
            try:
                data = self._text.read(area[0], area[1] - area[0])
            except MachineError:
                return frozenset()
            tables = [
                frozenset(area[0] + at + struct.unpack_from("<i", data, at)[0] for at in range(0, len(data) - 3, size))
                for size in sizes
            ]
            self._cache[start] = tables[0] if len(tables) == 1 else max(tables, key=self._share_in_text)
        return self._cache[start]

    def _share_in_text(self, addresses: frozenset[int]) -> float:
        return sum(map(self._text.contains, addresses)) / max(len(addresses), 1)

    def _used_by(self, function: str) -> tuple[int, int] | None:
        """The table whose start and end `function` forms first."""
        formed = self._formed(function)[:2]
        return (min(formed), max(formed)) if len(set(formed)) == 2 else None

    def _formed(self, function: str) -> list[int]:
        symbol = self._symbols.get(function)
        try:
            return [] if symbol is None else addresses_formed(self._text.read_u32, symbol)
        except MachineError:
            return []

    def _kernel_list(self) -> list[Area] | None:
        """Linux's own blacklist, kprobe_blacklist, once init_kprobes() has filled it; else None.

        It is read again when its ends have changed, which modules that come and go do.
        """
        if self._machine.kind != "linux":
            return None
        if self._list is not None and self._read(self._list[0], 16) == self._list[1]:
            return self._list[2]
        named = self._symbols.get("kprobe_blacklist")
        heads = [named.address] if named is not None else []
        for variable in self._formed("within_kprobe_blacklist"):
            heads += range(variable, variable + _HEAD_WITHIN, 8)
        for head in heads:
            areas = self._walk(head)
            if areas:
                self._list = head, self._read(head, 16), sorted(self._in_era(areas))
                return self._list[2]
        return None

    def _read(self, address: int, size: int) -> bytes:
        """Memory; nothing where the guest maps none."""
        try:
            return self._machine.memory.read(address, size)
        except MachineError:
            return b""

    def _walk(self, head: int) -> list[Area] | None:
        """The entries {list_head; start; end} of the list at `head`; None if there is no list of such there."""
        areas: list[Area] = []
        memory = self._machine.memory
        try:
            before, entry = head, memory.read_u64(head)
            while entry != head:
                following, previous, start, end = struct.unpack("<4Q", memory.read(entry, 32))
                if previous != before or not start < end or not self._text.contains(start) or len(areas) > _LIST_LIMIT:
                    return None
                areas.append(Area(start, end, self._symbols.describe(start)))
                before, entry = entry, following
        except MachineError:
            return None
        return areas

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
