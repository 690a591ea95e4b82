# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints with a function that decides, inside the run, whether the machine stops.

Each is a code hook bounded to one address. It writes nothing to memory. If the function says no, the run goes on after
a microsecond or two. An exit, as other breakpoints use, would end the run each time, which takes fifty microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import unicorn

from .deferred_signals import calls_users_code

if TYPE_CHECKING:
    from .core import Core

Decide = Callable[["Core"], bool]


class ConditionalBreakpoints:
    """The conditional breakpoints of one core.

    `skip` is the PC and SP where a run starts. A breakpoint there does not stop that run.
    """

    def __init__(self, core: Core) -> None:
        self._core, self._dispatcher = core, core.dispatcher
        self._deciders: dict[int, list[Decide]] = {}
        self._hooks: dict[int, int] = {}
        self.skip: tuple[int, int] | None = None
        self.hit: int | None = None

    def add(self, address: int, decide: Decide) -> None:
        """Ask `decide` each time before the instruction at `address` is executed; True stops the machine there."""
        self._core.refuse_other_threads()
        self._deciders.setdefault(address, []).append(decide)
        if address not in self._hooks:
            engine = self._core.engine
            self._hooks[address] = engine.hook_add(unicorn.UC_HOOK_CODE, self._reached, None, address, address)
            self._core.forget([address])  # code translated earlier does not call the hook

    def remove(self, address: int, decide: Decide) -> None:
        """Undo an `add`. Raises KeyError or ValueError if there was none."""
        self._core.refuse_other_threads()
        deciders = self._deciders[address]
        deciders.remove(decide)
        if not deciders:
            del self._deciders[address]
            self._core.engine.hook_del(self._hooks.pop(address))
            self._core.forget([address])

    def take_hit(self) -> int | None:
        """After a run: the address at which one of these breakpoints stopped it, or None."""
        hit, self.hit = self.hit, None
        return hit

    def _reached(self, engine: unicorn.Uc, address: int, size: int, _: object) -> None:
        context = self._core.context
        context.load()
        if (address, context.sp) == self.skip:
            self.skip = None
            return
        if self._ask(address):
            self.hit = address
            self._core.native.stop_before()
        elif self._dispatcher.ends_soon:  # with slow answers the slice may take long
            self._core.limit(0)

    def decides(self, address: int) -> bool:
        """Ask the functions at `address`, which is the core's PC."""
        if address not in self._deciders:
            return False
        self._core.context.load()
        return self._ask(address)

    @calls_users_code
    def _ask(self, address: int) -> bool:
        """Ask all functions, also after one has said yes: some only count. The context is loaded."""
        return any([decide(self._core) for decide in self._deciders.get(address, ())])
