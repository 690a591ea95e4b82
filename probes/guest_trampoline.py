# SPDX-License-Identifier: GPL-2.0-or-later
"""Mirrors probes on the guest's own kretprobe trampoline in ours, which is executed in its place.

In the kernel, a function that a kretprobe follows returns through the trampoline that has the symbol, and hits a kprobe
there. Our trampoline is in other memory. Otherwise the guest would look for an instance of its own at each of our
returns. If both have the same code (`direct`, and a guest with the frame of our era), each breakpoint of ours in the
guest's trampoline has a mirror at the same offset in ours, and handlers see the guest's address.
"""

from __future__ import annotations

import struct
from typing import Final

from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError

from .engine import Engine
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK, KPROBES_BRK_WORD, Stepping
from .trampoline import HVC

_NAMES: Final = ("__kretprobe_trampoline", "kretprobe_trampoline")  # the first since v5.16 (commit adf8a61a940c)


def _is_bl(word: int) -> bool:
    return word >> 26 == 0b100101


class GuestTrampoline:
    """The mirrors of one machine's sites; `code` is our trampoline's."""

    def __init__(
        self, machine: Machine, text: Text, engine: Engine, slots: Slots, stepping: Stepping, code: bytes
    ) -> None:
        self._machine, self._text = machine, text
        self._engine, self._slots, self._stepping = engine, slots, stepping
        self._code = code
        self._words = struct.unpack(f"<{len(code) // 4}I", code)
        self._place = 0  # the address of ours
        self._start = self._handler = 0  # addresses of the guest's trampoline, and of the function that it calls
        self._mirrors: dict[int, Site] = {}  # by offset; each keeps its slot when its site is disarmed

    def put(self, place: int) -> None:
        """Our trampoline is now at `place` (0 for nowhere), without breakpoints. The caller then syncs each site."""
        self._place = place
        for offset, mirror in self._mirrors.items():
            mirror.addr, mirror.offset = place + offset, place - self._start
            mirror.armed, mirror.slot = False, 0
            if place:
                self._engine.internal[mirror.addr] = mirror

    def sync_all(self) -> None:
        """`sync` each site."""
        for site in self._engine.sites.values():
            self.sync(site)

    def sync(self, site: Site) -> None:
        """A breakpoint of ours was added or removed. If it is in the guest's trampoline, do the same to its mirror.

        Raises ProbeError (ENOMEM) when there is no slot left.
        """
        if not self._place:
            return
        start = self._beginning()
        offset = site.addr - start
        mirror = self._mirrors.get(offset)
        if not (0 <= offset < len(self._code) and (mirror or site.armed)):
            return
        if mirror is None:
            if site.original == KPROBES_BRK_WORD or not self._is_alike(start):
                return
            self._start = start
            mirror = Site(self._place + offset, site.original, site.original, site.decoded, self._stepping)
            mirror.offset = self._place - start
            self._mirrors[offset] = self._engine.internal[mirror.addr] = mirror
        if site.armed and mirror.steps_in_slot and not mirror.slot:
            self._slots.take(mirror)
        site.mirror = mirror
        site.refresh()
        mirror.armed = site.armed
        code = KPROBES_BRK if site.armed else self._code[offset : offset + 4]
        self._machine.scratch.write(mirror.addr, code)

    def _beginning(self) -> int:
        """The start address of the guest's trampoline, 0 if it has none."""
        found = [symbol for name in _NAMES if (symbol := self._machine.symbols.get(name)) is not None]
        return found[0].address if found else 0

    def _is_alike(self, start: int) -> bool:
        """Whether the guest's trampoline is the same code as ours, except for the call and words under breakpoints."""
        for at, ours in enumerate(self._words):
            address = start + 4 * at
            try:
                word = self._text.read_u32(address)
            except MachineError:
                return False
            if ours == HVC and _is_bl(word):
                self._handler = address + ((word & 0x3FF_FFFF ^ 0x200_0000) - 0x200_0000) * 4
            elif word not in (ours, KPROBES_BRK_WORD):
                return False
        return True

    def redirect_pc(self, pc: int) -> int:
        """The address in our trampoline for a `pc` in the guest's, or in its handler. Any other `pc` is unchanged."""
        if 0 <= pc - self._start < len(self._code):
            return pc - self._start + self._place
        return self._place + len(self._code) if pc == self._handler else pc  # the spare HVC
