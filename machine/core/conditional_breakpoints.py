# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints with a function that decides, inside the run, whether the machine stops.

Each is a code hook bounded to one address. It writes nothing to memory. If the function says no, the run goes on after
a microsecond or two; if programs of the C core say so before, after some ten nanoseconds. An exit, as other
breakpoints use, would end the run each time, which takes fifty microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from armprobe.machine.native.condition import ConditionHook
from armprobe.machine.native.program import Program

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
        # Each with the programs of which one is true or has no value where it may say yes; None if it always may.
        self._deciders: dict[int, list[tuple[Decide, Sequence[Program] | None]]] = {}
        self._hooks: dict[int, ConditionHook] = {}
        self._removed: list[ConditionHook] = []  # in this run: one may be what asks at the moment
        self._skip: tuple[int, int] | None = None
        self.hit: int | None = None

    @property
    def skip(self) -> tuple[int, int] | None:
        """See the class."""
        return self._skip

    @skip.setter
    def skip(self, place: tuple[int, int] | None) -> None:
        before, self._skip = self._skip, place
        if not self._hooks:
            return
        for each in (before, place):
            if each is not None:
                self._update(each[0])

    def add(self, address: int, decide: Decide, programs: Sequence[Program] | None = None) -> None:
        """Ask `decide` each time before the instruction at `address` is executed; True stops the machine there.

        With `programs`, it may not be asked where all of them are false.
        """
        core = self._core
        core.refuse_other_threads()
        self._deciders.setdefault(address, []).append((decide, programs))
        if address not in self._hooks:
            hook = ConditionHook(core.native.address, core.reader, functools.partial(self._reached, address))
            hook.add(address)
            self._hooks[address] = hook
            core.forget([address])  # code translated earlier does not call the hook
        self._update(address)

    def remove(self, address: int, decide: Decide) -> None:
        """Undo an `add`. Raises KeyError or ValueError if there was none."""
        core = self._core
        core.refuse_other_threads()
        deciders = self._deciders[address]
        del deciders[[each for each, _ in deciders].index(decide)]
        if not deciders:
            del self._deciders[address]
            hook = self._hooks.pop(address)
            hook.remove()
            self._removed.append(hook)
            core.forget([address])
        self._update(address)

    def _update(self, address: int) -> None:
        """Have the C core ask at `address` where it must. It does not know of `skip`."""
        if address in self._hooks:
            found: list[Program] = []
            always = self._skip is not None and self._skip[0] == address
            for _, programs in self._deciders[address]:
                always |= programs is None
                found += programs or ()
            self._hooks[address].decide_by(None if always else found)

    def take_hit(self) -> int | None:
        """After a run: the address at which one of these breakpoints stopped it, or None."""
        hit, self.hit = self.hit, None
        self._removed.clear()
        return hit

    def _reached(self, address: int) -> None:
        """Called by the C core. Errors of the functions end the run."""
        core = self._core
        core.context.load()
        if (address, core.context.sp) == self._skip:
            self.skip = None
            return
        try:
            with core.machine.clock.before_instruction():
                stops = self._ask(address)
        except BaseException as error:
            core.fail(error)
            return
        if stops:
            self.hit = address
            core.native.stop_before()
        elif self._dispatcher.ends_soon:  # with slow answers the slice may take long
            core.limit(0)

    def decides(self, address: int) -> bool:
        """Ask the functions at `address`, which is the core's PC."""
        if address not in self._deciders:
            return False
        self._core.context.load()
        return self._ask(address)

    @calls_users_code
    def _ask(self, address: int) -> bool:
        """Ask all functions, also after one has said yes: some only count. The context is loaded."""
        return any([decide(self._core) for decide, _ in self._deciders.get(address, ())])
