# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers read before a client asks for them: gdb's `info all-registers` takes a packet for each system register."""

from __future__ import annotations

from collections.abc import Sequence

from .aarch64 import Register, pack
from .target import Changes, Target
from .wire import to_hex

_AHEAD = 16  # registers


class ReadAhead:
    """Reads registers of `target` by their numbers. For a client that asks for them in order, several are read at once.

    What was read ahead is dropped when the target counts a change (`ChangeCount`). From a target that counts none,
    nothing is read ahead.
    """

    def __init__(self, target: Target, registers: Sequence[Register]) -> None:
        self._target = target
        self._registers = registers
        self._next = -1  # the number after the one that was asked for last
        self._ready: dict[int, bytes] = {}
        self._changes: Changes | None = None  # the target's count when these were read

    def read(self, number: int) -> bytes:
        """A register as a reply to `p` holds it. Raises TargetError."""
        changes: Changes | None = getattr(self._target, "changes", None)
        if changes is None or changes != self._changes:
            self._changes = changes
            self._ready = {}
        if (value := self._ready.get(number)) is None:
            count = _AHEAD if changes is not None and number == self._next else 1
            chosen = self._registers[number : number + count]
            values = self._target.read_registers([register.source for register in chosen])
            self._ready = {
                at: to_hex(pack([register], [each]))
                for at, (register, each) in enumerate(zip(chosen, values, strict=True), number)
            }
            value = self._ready[number]
        self._next = number + 1
        return value
