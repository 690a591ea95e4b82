# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints that leave no trace in the guest's memory.

They are Unicorn's "exits", at which a translated block ends. The engine ends it with a WFI, which the CPU traps (see
`engine`) with a PC 4 less than the breakpoint. A guest's WFI just before the breakpoint has the same effect. To
distinguish them, such a WFI gets a second exit, where the machine stops without reporting it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import unicorn

from armprobe.machine.errors import MachineError

from .context import Context
from .instruction_words import WFI

if TYPE_CHECKING:
    from .core import Core


class Breakpoints:
    """The addresses at which the CPU stops before executing. Each has a count, as several users may add the same."""

    def __init__(self, core: Core) -> None:
        self._core, self._memory = core, core.memory
        self._wanted: Counter[int] = Counter()
        self._before_wfi: set[int] = set()
        self._stale = False  # the engine has other exits
        self.stepping_over: int | None = None  # the breakpoint whose instruction is being executed

    def __contains__(self, address: int) -> bool:
        """Whether the core stops at `address`, even if it reports no breakpoint there."""
        return address in self._wanted or address in self._before_wfi

    def count(self, address: int) -> int:
        """The number of breakpoints at `address`."""
        return self._wanted[address]  # a Counter: gives 0 for other addresses, and does not add them

    def add(self, address: int) -> None:
        """Stop at `address`."""
        self._core.refuse_other_threads()
        self._wanted[address] += 1
        if self._wanted[address] == 1:
            before = address - 4
            with contextlib.suppress(MachineError):
                if self._memory.u32(before) == WFI:
                    self._before_wfi.add(before)
            self._arm(before, address)

    def remove(self, address: int) -> None:
        """Undo one `add`. Raises KeyError when there was none."""
        self._core.refuse_other_threads()
        if not self._wanted[address]:
            raise KeyError(f"no breakpoint at {address:#x}")
        self._wanted[address] -= 1
        if not self._wanted[address]:
            del self._wanted[address]
            self._before_wfi.discard(address - 4)
            self._arm(address - 4, address)

    def step_over(self, pc: int) -> unicorn.UcError | None:
        """Execute the one instruction at `pc` although it is a breakpoint. Returns and raises as `Core.run` does."""
        self._core.native.set_exits([address for address in self._exits() if address != pc])
        self._stale = False
        self._core.forget([pc])
        self.stepping_over = pc
        try:
            return self._core.run(pc, 0 if self._core.machine.scratch.is_extra(pc) else 1)
        finally:
            self.stepping_over = None
            self._arm(pc)

    def reached(self, context: Context) -> bool:
        """Whether the trap of a WFI means a breakpoint, 4 bytes after the trap's PC."""
        executed = context.pc == self.stepping_over and context.pc in self._before_wfi
        return context.pc + 4 in self and not executed

    def _exits(self) -> set[int]:
        return self._before_wfi | set(self._wanted)

    def sync_exits(self) -> None:
        """Give the engine its exits before a run. All at once, because the time grows with their number."""
        if self._stale:
            self._core.native.set_exits(list(self._exits()))
            self._stale = False

    def _arm(self, *changed: int) -> None:
        self._stale = True
        if self._core.running:
            self.sync_exits()
        self._core.forget(changed)  # blocks translated earlier ignore the change
