# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the CPU may run, with interrupts masked, before it can unmask them.

A pending interrupt is taken at once when PSTATE.I is cleared, however briefly (`msr daifclr, #2; isb; msr daifset, #2`
in an idle loop). What clears it is MSR or ERET. The code is followed over branches within its page, either way where
they are conditional; where it leads out of the page, or nobody knows where to, is as far as to go.
"""

from __future__ import annotations

import struct
from typing import Final

from .bus import Bus
from .errors import MachineError
from .memory import Memory
from .mmu import PAGE

_FURTHEST: Final = 64  # instructions
_PAGES: Final = 4096  # pages of code remembered


class Unmasking:
    """Answers by the code itself, so that the same state always gives the same answer."""

    def __init__(self, bus: Bus, memory: Memory) -> None:
        self._bus, self._memory = bus, memory
        self._known: dict[bytes, dict[int, int]] = {}  # by a page's bytes: the distances from offsets in it
        self._here: dict[int, tuple[bytes, dict[int, int]]] = {}  # by the page's address, until `start`

    def start(self) -> None:
        """Interrupts are not masked now: what is mapped from here on may be remembered until the next `start`."""
        self._here.clear()

    def distance(self, pc: int) -> int:
        """The number of instructions to the nearest one that may clear PSTATE.I or lead elsewhere, itself included."""
        page = pc & -PAGE
        if page not in self._here:
            try:
                physical = self._memory.translate(page).physical
            except MachineError:
                return 1
            if self._bus.ram_at(physical) is None:
                return 1
            code = self._bus.read(physical, PAGE)
            if len(self._known) > _PAGES:
                self._known.clear()
            self._here[page] = code, self._known.setdefault(code, {})
        code, known = self._here[page]
        offset = pc - page
        if offset not in known:
            known[offset] = _distance(code, offset)
        return known[offset]


def _distance(code: bytes, start: int) -> int:
    """Breadth first, so that what is found first is nearest."""
    reached, seen = {start}, set()
    for length in range(1, _FURTHEST):
        following: set[int] = set()
        for offset in reached:
            seen.add(offset)
            word = struct.unpack_from("<I", code, offset)[0] if offset <= PAGE - 4 else 0
            ways = _ways(word, offset)
            if not ways or not all(0 <= way < PAGE for way in ways):
                return length
            following.update(ways)
        reached = following - seen
    return _FURTHEST


def _ways(word: int, offset: int) -> tuple[int, ...]:
    """Where the instruction at `offset` leads, none if nobody knows or it may clear PSTATE.I (Arm ARM, C4.1)."""
    after = offset + 4
    if word >> 26 & 7 != 5:  # not of "branches, exception generating and system instructions"
        return (after,)
    if word >> 26 & 0x1F == 5:  # B, BL
        return (offset + _signed(word, 26),)
    if word >> 24 == 0x54 or word >> 25 & 0x3F == 0x1A:  # B.cond; CBZ, CBNZ
        return after, offset + _signed(word >> 5, 19)
    if word >> 25 & 0x3F == 0x1B:  # TBZ, TBNZ
        return after, offset + _signed(word >> 5, 14)
    # System instructions, but for MSR of an immediate or of a register: to PSTATE, or to what decides where the code is
    if word >> 22 == 0x354 and word & 0xFFF8_F01F != 0xD500_401F and word >> 20 != 0xD51:
        return (after,)
    return ()


def _signed(field: int, bits: int) -> int:
    """A branch's offset in bytes."""
    field &= (1 << bits) - 1
    return 4 * (field - (field >> bits - 1 << bits))
