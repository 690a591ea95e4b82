# SPDX-License-Identifier: GPL-2.0-or-later
"""The areas of the guest's kernel that must not be probed, for one era."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from armprobe.kernel.code_tables import Area, CodeTables
from armprobe.machine import Symbols

from .eras import AREAS, Era


class Blacklist:
    """The blacklist of one machine's guest in one era."""

    def __init__(self, tables: CodeTables, symbols: Symbols, era: Era) -> None:
        self._tables = tables
        self._symbols = symbols
        self._era = era
        self._of_kernel: tuple[list[Area], list[Area]] | None = None  # the kernel's list, and its version for this era
        self._from_symbols: list[Area] | None = None
        self._order: tuple[list[Area], list[int], list[int]] | None = None

    def areas(self) -> list[Area]:
        """All areas that must not be probed, in order of address, as /sys/kernel/debug/kprobes/blacklist lists them.

        A Linux guest's own list is used, except for the areas in which its kernel and the era differ.
        """
        known = self._tables.kprobe_blacklist()
        if known is not None:
            if self._of_kernel is None or self._of_kernel[0] is not known:
                self._of_kernel = known, sorted(self._in_era(known))
            return self._of_kernel[1]
        if self._from_symbols is not None:
            return self._from_symbols
        areas = sorted(self._tables.nokprobe_functions() + self._tables.areas(self._era.blacklist))
        if not self._tables.makes_blacklist:
            self._from_symbols = areas
        return areas

    def _in_era(self, areas: list[Area]) -> list[Area]:
        """The guest kernel's list, as a kernel of the era would have made it."""
        allowed = self._tables.areas(AREAS - set(self._era.blacklist))
        kept = [area for area in areas if not any(other.covers(area) for other in allowed)]
        own_areas = self._tables.areas(self._era.blacklist)
        return kept + [own for own in own_areas if not any(own.covers(area) for area in kept)]

    def forbidden(self, address: int) -> Area | None:
        """The area of the blacklist that contains `address`, or None (within_kprobe_blacklist)."""
        candidates = [address]
        found = self._symbols.at(address)
        if found is not None and "." in found[0].name:
            # A part that the compiler split off a function (kfree.part.0) is forbidden if the function is.
            whole = self._symbols.get(found[0].name.split(".")[0])
            if whole is not None:
                candidates.append(whole.address)
        areas, starts, ends = self._ordered()
        for candidate in candidates:
            for index in range(bisect_right(starts, candidate) - 1, -1, -1):
                if ends[index] <= candidate:  # nor does any before this one reach it
                    break
                if candidate < areas[index].end:
                    return areas[index]
        return None

    def _ordered(self) -> tuple[list[Area], list[int], list[int]]:
        """The areas of the blacklist, their starts, and for each area the furthest end of all areas up to it."""
        areas = self.areas()
        if self._order is None or self._order[0] is not areas:
            self._order = areas, [area.start for area in areas], list(accumulate((area.end for area in areas), max))
        return self._order
