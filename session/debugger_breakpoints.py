# SPDX-License-Identifier: GPL-2.0-or-later
"""The breakpoints and watchpoints that debuggers have inserted in a machine."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from typing import Final

from armprobe.machine import Machine, NothingThere
from armprobe.machine.core.core import Core
from armprobe.stub import BreakKind, Decide, GuestView, TargetError, WatchKind

from .stop_event import WATCH_KINDS

_MOST_LEFT: Final = 100  # breakpoints that outlast their debuggers

Key = tuple[BreakKind | WatchKind, int, int]
"""The kind, address and length of a breakpoint, which identify it for a debugger."""


class DebuggerBreakpoints:
    """The debuggers' breakpoints in one machine. Use it on the owner's thread."""

    def __init__(self, machine: Machine, view: GuestView) -> None:
        self._machine, self._view = machine, view
        # For each breakpoint, the function that removes it and the one that decides whether it stops (None for
        # watchpoints).
        self._points: dict[Key, tuple[Callable[[], None], Callable[[GuestView], bool] | None]] = {}
        self._persistent: set[Key] = set()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._points)

    def insert(self, key: Key, decide: Decide | None = None, persistent: bool = False) -> None:
        """Insert a breakpoint. It replaces one that an earlier debugger has left. Raises TargetError, MachineError."""
        self.remove(key)
        if persistent and len(self._persistent) >= _MOST_LEFT:
            raise TargetError(
                errno.E2BIG, f"{_MOST_LEFT} breakpoints outlast their debuggers already: `kill` ends them"
            )
        machine, (kind, address, length) = self._machine, key
        if isinstance(kind, WatchKind):
            undo = self._watch(WATCH_KINDS[kind], address, length)
        elif decide is None:
            machine.breakpoints.add(address)
            undo = functools.partial(machine.breakpoints.remove, address)
        else:
            view, decides = self._view, decide
            asked: Callable[[Core], bool] = lambda core: decides(view)  # noqa: E731
            machine.conditional_breakpoints.add(address, asked, decide.programs)
            undo = functools.partial(machine.conditional_breakpoints.remove, address, asked)
        self._points[key] = undo, None if isinstance(kind, WatchKind) else decide or (lambda _: True)
        if persistent:
            self._persistent.add(key)

    def _watch(self, kind: str, address: int, length: int) -> Callable[[], None]:
        """Watch memory, and return the function that ends this. Addresses without memory are not watched."""
        try:
            self._machine.watchpoints.add(kind, address, length)
        except NothingThere:
            return lambda: None
        return functools.partial(self._machine.watchpoints.remove, kind, address, length)

    def remove(self, key: Key) -> None:
        """Remove a breakpoint, if it is there."""
        known = self._points.pop(key, None)
        if known is not None:
            self._persistent.discard(key)
            known[0]()

    def debugger_left(self) -> None:
        """Remove the breakpoints that do not outlast their debugger."""
        for key in self._points.keys() - self._persistent:
            self.remove(key)

    def remove_left(self) -> None:
        """Remove the breakpoints that outlast their debugger."""
        for key in list(self._persistent):
            self.remove(key)

    def stop_here(self) -> bool:
        """Whether a breakpoint stops the guest at its PC. Evaluates conditions and executes commands."""
        pc = self._machine.registers.pc
        here = [decide for (_, address, _), (_, decide) in self._points.items() if decide and address == pc]
        return any([decide(self._view) for decide in here])
