# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's invalidation of its instruction cache: translated code is dropped, as the guest asks (Arm ARM, B2.3.5).

The engine notices stores to translated code itself, but not all that are made by another mapping of it. With one of
these Linux patches its own text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.memory.mmu import PAGE

from .sysregs import Encoding

if TYPE_CHECKING:
    from .core import Core

_ALL: Final = Encoding(1, 0, 7, 1, 0), Encoding(1, 0, 7, 5, 0)  # IC IALLUIS, IC IALLU
_LINE: Final = Encoding(1, 3, 7, 5, 1)  # IC IVAU


class InstructionCache:
    """Keeps no register: the CPU itself does these instructions, which do nothing in it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def allows_el0(self, register: Encoding, writes: bool) -> bool:
        """No: the CPU traps none of them."""
        return False

    def read(self, register: Encoding) -> int | None:
        """None."""
        return None

    def write(self, register: Encoding, value: int) -> bool:
        """Have what is translated dropped at the end of the instruction, of the line's page or of all memory."""
        if register in _ALL:
            self._core.forget_all_soon()
        elif register == _LINE:
            try:
                physical = self._core.memory.translate(value).physical
            except MachineError:
                return False  # nothing is there to be executed
            self._core.forget_soon(physical // PAGE * PAGE, PAGE)
        return False
