# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies where in the guest's address space at this moment: stretches that are alike, and gaps.

Whole tables are compared at once, so that neither an empty half of the address space nor a direct map of all memory
takes long. For one answer a bounded number of tables is read, whatever the guest maps: what is told then is alike, but
may not be all that is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from .bus import Bus
from .mmu import OUTPUT, SCTLR_M, TranslationRegisters, table_root

TOP: Final = 1 << 64
_ENTRIES: Final = struct.Struct("<512Q")
_MOST_TABLES: Final = 2048  # read for one answer: what maps 4 GiB in pages; a fifth of a second
_MOST_TABLES_IN_ALL: Final = 16384  # read to list all that is mapped: what maps 32 GiB in pages
_MOST_MAPPED: Final = 65536  # regions in that list
_MOST_SPANS: Final = 1 << 18  # entries of tables looked at for it

# Arm ARM, D8.3: of a table descriptor, and of a block or page
_PXN_TABLE, _UXN_TABLE, _EL0_TABLE, _READ_ONLY_TABLE = 1 << 59, 1 << 60, 1 << 61, 1 << 62
_INHERITED: Final = _PXN_TABLE | _UXN_TABLE | _EL0_TABLE | _READ_ONLY_TABLE
_EL0, _READ_ONLY, _PXN, _UXN = 1 << 6, 1 << 7, 1 << 53, 1 << 54


@dataclass(frozen=True)
class Region:
    """The addresses `start` <= address < `end` (64 bits), which are alike."""

    start: int
    end: int
    access: str
    """What the guest may do there, at EL1 or EL0: of "rwx" the letters that apply; empty if nothing can be read."""
    name: str
    """"RAM", "scratch" (the machine's own memory) or a device's name; empty if nothing can be read."""


class _Kind(NamedTuple):
    access: str
    name: str


_NOTHING: Final = _Kind("", "")
_Span = tuple[int, int, _Kind]


def region_at(bus: Bus, registers: TranslationRegisters, address: int) -> Region:
    """The region that `address` is in.

    Where TCR_EL1 has the top byte of addresses ignored, only those are mapped that need no ignoring.
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
    """RAM and devices by virtual address, in order, and whether that is all of them.

    Access begins with "u" where EL0 may too, so that what EL0 and EL1 have are regions of their own. The list is cut
    short where the page tables are too many, or map too many regions.
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
    """What is behind physical addresses that may be used so, in order."""
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
        """`access` says of an entry, its level and what is inherited what may be done; `most` tables are read."""
        self._bus = bus
        self._access = access
        self._lower, self._upper = _root(registers, False), _root(registers, True)
        self._tables: dict[int, tuple[int, ...] | None] = {}
        self._alike: dict[tuple[int, int, int], _Kind | None] = {}
        self._most = most

    def rest(self) -> None:
        """As much may be read again as has been."""
        self._most = self._done + _MOST_TABLES // 2

    def leaf(self, address: int) -> _Span:
        """What maps `address`, or does not."""
        span = self._span(address, None)
        assert span is not None
        return span

    def beside(self, edge: int, address: int) -> _Span | None:
        """The most that is alike, begins or ends at `edge`, and has `address` in it; None if too much has been read."""
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
        """Tables read, or compared, which one may be anew for each level and attributes that it is met with."""
        return max(len(self._tables), len(self._alike))

    def _read(self, table: int) -> tuple[int, ...] | None:
        if table not in self._tables:
            ram = self._bus.ram_at(table)
            self._tables[table] = _ENTRIES.unpack_from(ram.data, table - ram.base) if ram else None
        return self._tables[table]

    def _table_kind(self, entry: int, level: int, inherited: int) -> _Kind | None:
        """What all addresses are that an entry leads to a table for; None if they differ, or too much has been read."""
        inherited |= entry & _INHERITED
        key = entry & OUTPUT, level, inherited
        if key not in self._alike:
            if self._over_budget:
                return None
            entries = self._read(entry & OUTPUT)
            self._alike[key] = _NOTHING if entries is None else self._kind(entries, level + 1, inherited)
        return self._alike[key]

    def _kind(self, entries: tuple[int, ...], level: int, inherited: int) -> _Kind | None:
        """Not entry by entry, as there are many of them, and those of a table are mostly alike."""
        tables = dict.fromkeys(entry for entry in entries if _is_table(entry, level))
        leaves = [entry for entry in entries if not _is_table(entry, level)]
        kinds = {self._leaves_kind(leaves, level, inherited)} if leaves else set()
        for entry in tables:
            if len(kinds) > 1 or None in kinds:
                return None
            kinds.add(self._table_kind(entry, level, inherited))
        return kinds.pop() if len(kinds) == 1 else None

    def _leaves_kind(self, entries: list[int], level: int, inherited: int) -> _Kind | None:
        accesses = {self._access(each, level, inherited) for each in {entry & ~OUTPUT for entry in entries}}
        if accesses == {""}:
            return _NOTHING
        size = 1 << 12 + 9 * (3 - level)
        outputs = [entry & OUTPUT & -size for entry in entries]
        pieces = _pieces(self._bus, min(outputs), max(outputs) + size, accesses.pop())
        # Of those only what is mapped counts: a table taken for mixed that is not would be gone through by the page,
        # as often as it is mapped.
        kinds = {kind for low, high, kind in pieces if any(low < each + size and each < high for each in outputs)}
        return kinds.pop() if len(kinds) == 1 and not accesses else None

    def _leaf(self, entry: int, level: int, inherited: int) -> list[_Span]:
        """What an entry that leads to no table maps, by offset."""
        size = 1 << 12 + 9 * (3 - level)
        access = self._access(entry, level, inherited)
        if not access:
            return [(0, size, _NOTHING)]
        base = entry & OUTPUT & -size
        return [(low - base, high - base, kind) for low, high, kind in _pieces(self._bus, base, base + size, access)]


def _root(registers: TranslationRegisters, upper: bool) -> tuple[int, int, int]:
    """The top-level table of a range: physical address, level, and the bytes of address space it covers, maybe 0."""
    try:
        table, level, bits = table_root(registers, upper)
    except ValueError:
        return 0, 0, 0
    return table, level, 1 << bits


def _is_table(entry: int, level: int) -> bool:
    return level < 3 and entry & 3 == 3


def _access(entry: int, level: int, inherited: int) -> str:
    """EL1 can read whatever is mapped, and executes nothing that EL0 can write (Arm ARM, D8.4)."""
    if entry & 3 != (3 if level == 3 else 1) or level == 0:
        return ""
    writable = not entry & _READ_ONLY and not inherited & _READ_ONLY_TABLE
    user = bool(entry & _EL0) and not inherited & _EL0_TABLE
    kernel_executes = not entry & _PXN and not inherited & _PXN_TABLE and not (user and writable)
    user_executes = user and not entry & _UXN and not inherited & _UXN_TABLE
    return "r" + "w" * writable + "x" * (kernel_executes or user_executes)


def _access_with_user(entry: int, level: int, inherited: int) -> str:
    """As `_access`, with "u" before it where EL0 may read, or may execute what it may not read (Arm ARM, D8.4)."""
    access = _access(entry, level, inherited)
    return "u" + access if access and entry & _EL0 and not inherited & _EL0_TABLE else access
