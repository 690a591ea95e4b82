# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's own hardware watchpoints (Arm ARM, D2.10). Unicorn stores their registers but never acts on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import unicorn

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .access_stop import BLOCK
from .context import Context
from .effective_address import effective_address, unprivileged
from .exceptions import IL, WRITE_NOT_READ, Class
from .instruction_words import is_store_exclusive
from .pstate import PSTATE_D
from .software_step import MDSCR_KDE, MDSCR_MDE
from .sysregs import SYSTEM_REGISTERS, Encoding

if TYPE_CHECKING:
    from .core import Core

_LOAD, _STORE = 1, 2  # DBGWCR_EL1.LSC
_DEBUG_EVENT: Final = 0x22  # DFSC
_CONTEXTIDR: Final = SYSTEM_REGISTERS["contextidr_el1"]
_PAGE: Final = 0xFFF
_ACCESSES: Final = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
_NOWHERE: Final = (1 << 64) - 1  # an address that no access uses
_LONG: Final = 10_000_000  # instructions


@lazy_dataclass
class GuestWatchHit:
    """An access that matches one of the guest's watchpoints: the values for ESR_EL1 and FAR_EL1."""

    syndrome: int
    address: int


@lazy_dataclass
class _Watched:
    """The content of DBGWVR<n>_EL1 and DBGWCR<n>_EL1."""

    first: int
    last: int
    kinds: int  # _LOAD, _STORE
    levels: int  # bit 0 for EL0, bit 1 for EL1
    linked: int | None  # the number of a breakpoint that must match too

    def places(self) -> tuple[int, int]:
        """The page offsets at which an access to these bytes can begin: the first offset and their number."""
        return self.first - BLOCK & _PAGE, BLOCK + self.last - self.first + 1


class GuestWatchpoints:
    """Checks each of the guest's accesses while one of its watchpoints is enabled."""

    def __init__(self, core: Core) -> None:
        self._core, self._bus, self._stop = core, core.machine.bus, core.access_stop
        features = core.system(SYSTEM_REGISTERS["id_aa64dfr0_el1"])
        self._count = (features >> 20 & 15) + 1  # ID_AA64DFR0_EL1.WRPs
        # Context-aware breakpoints are the highest-numbered ones (CTX_CMPs of BRPs).
        breakpoints = (features >> 12 & 15) + 1
        self._context_aware = range(breakpoints - (features >> 28 & 15) - 1, breakpoints)
        self._watched: tuple[_Watched, ...] = ()
        self._places: tuple[tuple[int, int], ...] = ()
        self._hook: int | None = None
        self._placeholder: int | None = None
        self._unhooked_at = 0

    def update(self, mdscr: int, executed: int) -> None:
        """Follow a change of the registers. `mdscr` is MDSCR_EL1; the others are read from the core.

        `executed` is the count of the guest's instructions.
        """
        registers: list[_Watched | None] = []
        if mdscr & MDSCR_MDE:
            registers = [self._register(number) for number in range(self._count)]
        self._watched = tuple(watched for watched in registers if watched is not None)
        self._places = tuple(watched.places() for watched in self._watched)
        # A guest may switch watchpoints off and on at each thread switch. Code is retranslated, which is slow, only the
        # first time: code translated while a memory hook exists checks for hooks at each access.
        if self._watched and self._hook is None:
            self._hook = self._core.engine.hook_add(_ACCESSES, self._accessed)
            if self._placeholder is None:
                self._placeholder = self._core.engine.hook_add(_ACCESSES, self._accessed, None, _NOWHERE, _NOWHERE)
                self._stop.begin()
        elif not mdscr & MDSCR_MDE and self._hook is not None:
            self._core.engine.hook_del(self._hook)
            self._hook = None
            self._unhooked_at = executed

    def tidy(self) -> None:
        """Between two slices: drop the code translated for hooks if no hook was needed for `_LONG` instructions."""
        if self._placeholder is None or self._hook is not None:
            return
        if self._core.machine.clock.executed - self._unhooked_at > _LONG:
            self._core.engine.hook_del(self._placeholder)
            self._placeholder = None
            self._stop.end()

    def _register(self, number: int) -> _Watched | None:
        """Watchpoint `number`; None if it watches nothing (D2.10.2, D2.10.3)."""
        control = self._core.system(Encoding(2, 0, 0, number, 7))
        kinds, levels = control >> 3 & 3, control >> 1 & 3
        if not control & 1 or not kinds or not levels:
            return None
        address = self._core.system(Encoding(2, 0, 0, number, 6))
        linked = control >> 16 & 15 if control >> 20 & 1 else None
        mask, select = control >> 24 & 31, control >> 5 & 0xFF
        if mask:  # 1 and 2 are reserved
            size = 1 << mask
            first = address & -size
        else:
            if address & 4:  # the address of a word: bits 7 to 4 of BAS are RES0
                select, address = select & 15, address & -4
            else:
                address &= -8
            if not select:
                return None
            lowest = (select & -select).bit_length() - 1
            first, size = address + lowest, (select >> lowest).bit_length()  # BAS is contiguous, or unpredictable
        # Bit 0 of PAC is EL1, bit 1 EL0.
        return _Watched(first, first + size - 1, kinds, levels >> 1 | (levels & 1) << 1, linked)

    def _accessed(self, engine: unicorn.Uc, access: int, physical: int, width: int, value: int, _: object) -> None:
        for place, size in self._places:  # a quick test first, which rules out most accesses
            if physical - place & _PAGE < size or size > _PAGE:
                break
        else:
            return
        writes = access == unicorn.UC_MEM_WRITE
        if self._stop.pending or self._bus.ram_at(physical) is None:
            return
        word, context = self._stop.instruction(), self._core.context
        begin = effective_address(word, context.x)
        if begin is None:
            return
        first = begin + (physical - begin & _PAGE)
        if not writes and is_store_exclusive(word):
            return  # the engine compares before it stores
        whole = self._stop.written_whole() if writes else None
        if whole is not None:
            start, data = whole
            physical, first, width = physical - first + start, start, len(data)
        privileged = context.el == 1 and not unprivileged(word)
        for watched in self._watched:
            if (
                first <= watched.last
                and first + width > watched.first
                and watched.kinds & (_STORE if writes else _LOAD)
                and watched.levels >> privileged & 1
                and self._enabled(context)
                and (watched.linked is None or self._context_matches(watched.linked))
            ):
                kind = Class.WATCHPOINT if context.el else Class.WATCHPOINT_LOWER
                syndrome = kind << 26 | IL | _DEBUG_EVENT | (WRITE_NOT_READ if writes else 0)
                self._stop.stop(GuestWatchHit(syndrome, max(first, watched.first)), physical, writes)
                return
        if writes:
            self._note_write(physical, width)

    def _note_write(self, physical: int, width: int) -> None:
        """Keep what a write replaces: a later part of the same pair or vector structure may be watched."""
        self._stop.writing_before(physical, width)

    def _enabled(self, context: Context) -> bool:
        """Whether debug exceptions are enabled at the current level (D2.4); those from EL0 to EL1 always are."""
        if context.el == 0:
            return True
        return bool(context.system(context.layout.mdscr_el1) & MDSCR_KDE) and not context.daif & PSTATE_D

    def _context_matches(self, number: int) -> bool:
        """Whether linked breakpoint `number` matches (D2.9.4). One that is not context-aware never does."""
        if number not in self._context_aware:
            return False
        control = self._core.system(Encoding(2, 0, 0, number, 5))
        if not control & 1 or control >> 20 & 15 not in (3, 7):  # of CONTEXTIDR_EL1
            return False
        context = self._core.system(Encoding(2, 0, 0, number, 4)) & 0xFFFF_FFFF
        return self._core.system(_CONTEXTIDR) & 0xFFFF_FFFF == context
