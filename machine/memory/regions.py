# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions of the guest's current address space: ranges of equal access and content, and gaps.

Whole tables are compared at once, so that an empty half of the address space and a direct map of all memory are both
fast. A bounded number of tables is read for one answer, whatever the guest maps. So a region reported is uniform, but
may really extend further.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .bus import Bus
from .mmu import OUTPUT, SCTLR_M, TranslationRegisters, table_root

TOP: Final = 1 << 64
_ENTRIES: Final = struct.Struct("<512Q")
_MOST_TABLES: Final = 2048  # tables read for one answer: enough for 4 GiB in pages, in a fifth of a second
_MOST_TABLES_IN_ALL: Final = 16384  # tables read to list all mappings: enough for 32 GiB in pages
_MOST_MAPPED: Final = 65536  # regions in that list
_MOST_SPANS: Final = 1 << 18  # spans examined for that list

# Bits of a table descriptor, and of a block or page descriptor (Arm ARM, D8.3)
_PXN_TABLE, _UXN_TABLE, _EL0_TABLE, _READ_ONLY_TABLE = 1 << 59, 1 << 60, 1 << 61, 1 << 62
_INHERITED: Final = _PXN_TABLE | _UXN_TABLE | _EL0_TABLE | _READ_ONLY_TABLE
_EL0, _READ_ONLY, _PXN, _UXN = 1 << 6, 1 << 7, 1 << 53, 1 << 54


@lazy_dataclass
class Region:
    """The addresses `start` <= address < `end` (64 bits), which have the same access and content."""

    start: int
    end: int
    access: str
    """The guest's access at EL1 or EL0: the letters of "rwx" that apply; empty if nothing can be read."""
    name: str
    """"RAM", "scratch" (the machine's own memory) or a device's name; empty if nothing can be read."""


class _Kind(NamedTuple):
    access: str
    name: str


_NOTHING: Final = _Kind("", "")
_Span = tuple[int, int, _Kind]


def region_at(bus: Bus, registers: TranslationRegisters, address: int) -> Region:
    """The region that `address` is in.

    Where TCR_EL1 makes the CPU ignore the top byte, only addresses without a tag in it count as mapped.
    """
    if not registers.sctlr & SCTLR_M:
        return next(region for region in without_translation(bus) if address < region.end)
    walk = _Walk(bus, registers, _access, _MOST_TABLES // 2)
    start, end, kind = walk.leaf(address)
    while end < TOP and (following := walk.beside(end, end)) and following[2] == kind:
        end = following[1]
    walk.rest()
    while start > 0 and (previous := walk.beside(start, start - 1)) and previous[2] == kind:
        start = previous[0]
    return Region(start, end, *kind)


def mapped_regions(bus: Bus, registers: TranslationRegisters) -> tuple[list[Region], bool]:
    """RAM and devices by virtual address, in order, and whether the list is complete.

    Access begins with "u" where EL0 has access too, so that memory of EL0 and of EL1 are separate regions. The list is
    cut short if there are too many page tables or regions.
    """
    if not registers.sctlr & SCTLR_M:
        return [region for region in without_translation(bus) if region.access], True
    found: list[Region] = []
    walk = _Walk(bus, registers, _access_with_user, _MOST_TABLES_IN_ALL)
    at = spans = 0
    while at < TOP and len(found) < _MOST_MAPPED and spans < _MOST_SPANS:
        span = walk.beside(at, at)
        if span is None:
            break
        spans += 1
        _, end, kind = span
        if not kind.access:
            pass
        elif found and found[-1].end == at and (found[-1].access, found[-1].name) == kind:
            found[-1] = Region(found[-1].start, end, *kind)
        else:
            found.append(Region(at, end, *kind))
        at = end
    return found, at == TOP


def without_translation(bus: Bus) -> list[Region]:
    """All addresses of a guest whose MMU is off, in order."""
    return [Region(start, end, *kind) for start, end, kind in _pieces(bus, 0, TOP, "rwx")]


def _pieces(bus: Bus, start: int, end: int, access: str) -> list[_Span]:
    """The content of a range of physical addresses, in order; each piece with memory or a device has `access`."""
    known = [(ram.base, ram.end, "RAM" if ram.name == "ram" else ram.name) for ram in bus.rams]
    known += [(window.base, window.base + window.size, window.device.name) for window in bus.windows]
    pieces: list[_Span] = []
    for base, limit, name in sorted(known):
        if base < end and limit > start:
            if base > start:
                pieces.append((start, base, _NOTHING))
            pieces.append((max(base, start), min(limit, end), _Kind(access, name)))
            start = limit
    if start < end:
        pieces.append((start, end, _NOTHING))
    return pieces


class _Walk:
    """One reading of the guest's page tables."""

    def __init__(
        self,
        bus: Bus,
        registers: TranslationRegisters,
        access: Callable[[int, int, int], str],
        most: int,
    ) -> None:
        """`access` gives the access for an entry, its level and its inherited bits. At most `most` tables are read."""
        self._bus = bus
        self._access = access
        self._lower, self._upper = _root(registers, False), _root(registers, True)
        self._tables: dict[int, tuple[int, ...] | None] = {}
        self._alike: dict[tuple[int, int, int], _Kind | None] = {}
        self._most = most

    def rest(self) -> None:
        """Allow `_MOST_TABLES` // 2 more tables to be read."""
        self._most = self._done + _MOST_TABLES // 2

    def leaf(self, address: int) -> _Span:
        """The page, block or gap that contains `address`."""
        span = self._span(address, None)
        assert span is not None
        return span

    def beside(self, edge: int, address: int) -> _Span | None:
        """The largest uniform span that begins or ends at `edge` and contains `address`; None if over budget."""
        return self._span(address, edge)

    def _span(self, address: int, edge: int | None) -> _Span | None:
        if edge is not None and self._over_budget:
            return None
        lower_end, upper_start = self._lower[2], TOP - self._upper[2]
        if lower_end <= address < upper_start:
            return lower_end, upper_start, _NOTHING
        start, end = (0, lower_end) if address < lower_end else (upper_start, TOP)
        table, level, _ = self._lower if address < lower_end else self._upper
        inherited = 0
        while True:
            entries = self._read(table)
            if entries is None:
                return start, end, _NOTHING
            shift = 12 + 9 * (3 - level)
            index = (address - start) >> shift
            start, entry = start + (index << shift), entries[index]
            end = start + (1 << shift)
            if not _is_table(entry, level):
                pieces = self._leaf(entry, level, inherited)
                return next((start + low, start + high, kind) for low, high, kind in pieces if address < start + high)
            if edge in (start, end) and (kind := self._table_kind(entry, level, inherited)) is not None:
                return start, end, kind
            table, level, inherited = entry & OUTPUT, level + 1, inherited | entry & _INHERITED

    @property
    def _over_budget(self) -> bool:
        return self._done >= self._most

    @property
    def _done(self) -> int:
        """Tables read or compared. A table may be compared again for each level and attributes that it occurs with."""
        return max(len(self._tables), len(self._alike))

    def _read(self, table: int) -> tuple[int, ...] | None:
        if table not in self._tables:
            ram = self._bus.ram_at(table)
            self._tables[table] = _ENTRIES.unpack_from(ram.data, table - ram.base) if ram else None
        return self._tables[table]

    def _table_kind(self, entry: int, level: int, inherited: int) -> _Kind | None:
        """The kind of all addresses under a table entry; None if they differ, or over budget."""
        inherited |= entry & _INHERITED
        key = entry & OUTPUT, level, inherited
        if key not in self._alike:
            if self._over_budget:
                return None
            entries = self._read(entry & OUTPUT)
            self._alike[key] = _NOTHING if entries is None else self._kind(entries, level + 1, inherited)
        return self._alike[key]

    def _kind(self, entries: tuple[int, ...], level: int, inherited: int) -> _Kind | None:
        """The kind of all `entries`; None if they differ. Groups equal entries, as most in a table are alike."""
        tables = dict.fromkeys(entry for entry in entries if _is_table(entry, level))
        leaves = [entry for entry in entries if not _is_table(entry, level)]
        kinds = {self._leaves_kind(leaves, level, inherited)} if leaves else set()
        for entry in tables:
            if len(kinds) > 1 or None in kinds:
                return None
            kinds.add(self._table_kind(entry, level, inherited))
        return kinds.pop() if len(kinds) == 1 else None

    def _leaves_kind(self, entries: list[int], level: int, inherited: int) -> _Kind | None:
        size = 1 << 12 + 9 * (3 - level)
        outputs: dict[str, list[int]] = {}  # by access
        access_of = {each: self._access(each, level, inherited) for each in {entry & ~OUTPUT for entry in entries}}
        for entry in entries:
            outputs.setdefault(access_of[entry & ~OUTPUT], []).append(entry & OUTPUT & -size)
        kinds = {_NOTHING} if outputs.pop("", None) is not None else set()
        for access, places in outputs.items():
            # Only mapped pieces count. A uniform table that is mistaken for a mixed one, such as one that is in part
            # invalid and in part leads nowhere, would be walked page by page, as often as it is mapped.
            for low, high, kind in _pieces(self._bus, min(places), max(places) + size, access):
                if any(low < each + size and each < high for each in places):
                    kinds.add(kind)
        return kinds.pop() if len(kinds) == 1 else None

    def _leaf(self, entry: int, level: int, inherited: int) -> list[_Span]:
        """The spans that a page or block entry maps, by offset."""
        size = 1 << 12 + 9 * (3 - level)
        access = self._access(entry, level, inherited)
        if not access:
            return [(0, size, _NOTHING)]
        base = entry & OUTPUT & -size
        return [(low - base, high - base, kind) for low, high, kind in _pieces(self._bus, base, base + size, access)]


def _root(registers: TranslationRegisters, upper: bool) -> tuple[int, int, int]:
    """The top-level table of a range: physical address, level, and bytes of address space covered (0 if disabled)."""
    try:
        table, level, bits = table_root(registers, upper)
    except ValueError:
        return 0, 0, 0
    return table, level, 1 << bits


def _is_table(entry: int, level: int) -> bool:
    return level < 3 and entry & 3 == 3


def _access(entry: int, level: int, inherited: int) -> str:
    """Letters of "rwx". EL1 can read all that is mapped and cannot execute what EL0 can write (Arm ARM, D8.4)."""
    if entry & 3 != (3 if level == 3 else 1) or level == 0:
        return ""
    writable = not entry & _READ_ONLY and not inherited & _READ_ONLY_TABLE
    user = bool(entry & _EL0) and not inherited & _EL0_TABLE
    kernel_executes = not entry & _PXN and not inherited & _PXN_TABLE and not (user and writable)
    user_executes = user and not entry & _UXN and not inherited & _UXN_TABLE
    return "r" + "w" * writable + "x" * (kernel_executes or user_executes)


def _access_with_user(entry: int, level: int, inherited: int) -> str:
    """Like `_access`, prefixed with "u" where EL0 may read, or may execute what it may not read (Arm ARM, D8.4)."""
    access = _access(entry, level, inherited)
    return "u" + access if access and entry & _EL0 and not inherited & _EL0_TABLE else access
