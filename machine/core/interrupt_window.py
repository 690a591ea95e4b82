# SPDX-License-Identifier: GPL-2.0-or-later
"""The distance that a core can run, with interrupts masked, before it can unmask them.

The CPU takes a pending interrupt as soon as PSTATE.I is cleared, however briefly (`msr daifclr, #2; isb; msr daifset,
#2` in an idle loop). MSR and ERET can clear it. The search follows the code over branches within its page, both ways at
conditional ones. It ends at an instruction that leads out of the page or to an unknown address.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.memory.mmu import PAGE

if TYPE_CHECKING:
    from .core import Core

_FURTHEST: Final = 64  # instructions
_LONGEST_EDGE: Final = 32  # addresses
_PAGES: Final = 4096  # pages of code remembered


class InterruptWindow:
    """Finds the instructions that may clear PSTATE.I. It reads the code, so equal states give equal answers."""

    def __init__(self, core: Core) -> None:
        self._bus, self._memory = core.machine.bus, core.memory
        self._known: dict[bytes, dict[int, int]] = {}  # by the bytes of a page: distances by offset in the page
        self._here: dict[int, tuple[bytes, dict[int, int]]] = {}  # by page address, until `start`

    def start(self) -> None:
        """Forget cached page mappings: interrupts are unmasked now. New ones are cached until the next `start`."""
        self._here.clear()

    def distance(self, pc: int) -> int:
        """The number of instructions to the nearest one that may clear PSTATE.I or lead elsewhere, itself included."""
        found = self._page(pc)
        if found is None:
            return 1
        code, known = found
        offset = pc % PAGE
        if offset not in known:
            known[offset] = _distance(code, offset)
        return known[offset]

    def edge(self, pc: int) -> frozenset[int]:
        """The addresses of instructions on `pc`'s page, reachable from `pc`, that may clear PSTATE.I or lead elsewhere.

        Empty if there are more than `_LONGEST_EDGE`.
        """
        found = self._page(pc)
        if found is None:
            return frozenset()
        edge = _edge(found[0], pc % PAGE)
        return frozenset(pc - pc % PAGE + offset for offset in edge) if len(edge) <= _LONGEST_EDGE else frozenset()

    def _page(self, pc: int) -> tuple[bytes, dict[int, int]] | None:
        """The code on the page of `pc`, and the known distances by offset; None where there is no memory."""
        page = pc & -PAGE
        if page not in self._here:
            try:
                physical = self._memory.translate(page).physical
            except MachineError:
                return None
            if self._bus.ram_at(physical) is None:
                return None
            code = self._bus.read(physical, PAGE)
            if len(self._known) > _PAGES:
                self._known.clear()
            self._here[page] = code, self._known.setdefault(code, {})
        return self._here[page]


def _distance(code: bytes, start: int) -> int:
    """A breadth-first search, so that the first instruction found is the nearest."""
    reached, seen = {start}, set()
    for length in range(1, _FURTHEST):
        following: set[int] = set()
        for offset in reached:
            seen.add(offset)
            ways = _ways_on(code, offset)
            if not ways:
                return length
            following.update(ways)
        reached = following - seen
    return _FURTHEST


def _edge(code: bytes, start: int) -> set[int]:
    reached, seen, edge = [start], set(), set()
    while reached:
        offset = reached.pop()
        if offset not in seen:
            seen.add(offset)
            ways = _ways_on(code, offset)
            reached += ways
            if not ways:
                edge.add(offset)
    return edge


def _ways_on(code: bytes, offset: int) -> tuple[int, ...]:
    """Like `_ways`, but empty if any of them leads out of the page."""
    ways = _ways(struct.unpack_from("<I", code, offset)[0], offset) if offset <= PAGE - 4 else ()
    return ways if all(0 <= way < PAGE for way in ways) else ()


def _ways(word: int, offset: int) -> tuple[int, ...]:
    """The offsets that may execute after `offset`; empty if unknown or if it may clear PSTATE.I (Arm ARM, C4.1)."""
    after = offset + 4
    if word >> 26 & 7 != 5:  # not one of "branches, exception generating and system instructions"
        return (after,)
    if word >> 26 & 0x1F == 5:  # B, BL
        return (offset + _signed(word, 26),)
    if word >> 24 == 0x54 or word >> 25 & 0x3F == 0x1A:  # B.cond; CBZ, CBNZ
        return after, offset + _signed(word >> 5, 19)
    if word >> 25 & 0x3F == 0x1B:  # TBZ, TBNZ
        return after, offset + _signed(word >> 5, 14)
    # System instructions except MSR (immediate or register), which may write PSTATE or change where the code is mapped.
    if word >> 22 == 0x354 and word & 0xFFF8_F01F != 0xD500_401F and word >> 20 != 0xD51:
        return (after,)
    return ()


def _signed(field: int, bits: int) -> int:
    """A branch's offset in bytes."""
    field &= (1 << bits) - 1
    return 4 * (field - (field >> bits - 1 << bits))
