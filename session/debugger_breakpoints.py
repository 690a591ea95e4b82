# SPDX-License-Identifier: GPL-2.0-or-later
"""The breakpoints and watchpoints that debuggers have inserted in a machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Final

from armprobe.machine import Machine, NothingThere
from armprobe.machine.core.core import Core
from armprobe.stub import BreakKind, Decide, GuestView, TargetError, WatchKind

from .stop_event import WATCH_KINDS

_E2BIG: Final = 7
_MOST_LEFT: Final = 100  # that debuggers leave in

Key = tuple[BreakKind | WatchKind, int, int]
"""Kind, address and length, as a debugger names what it has inserted."""


class DebuggerBreakpoints:
    """Those of one machine. For the thread that owns it."""

    def __init__(self, machine: Machine, view: GuestView) -> None:
        self._machine, self._view = machine, view
        # With what removes each, and what decides whether it stops; None for watchpoints.
        self._points: dict[Key, tuple[Callable[[], None], Decide | None]] = {}
        self._persistent: set[Key] = set()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._points)

    def insert(self, key: Key, decide: Decide | None = None, persistent: bool = False) -> None:
        """Insert one, in place of one that a debugger before has left. Raises TargetError, MachineError."""
        self.remove(key)
        if persistent and len(self._persistent) >= _MOST_LEFT:
            raise TargetError(_E2BIG, f"{_MOST_LEFT} breakpoints outlast their debuggers already: `kill` ends them")
        machine, (kind, address, length) = self._machine, key
        if isinstance(kind, WatchKind):
            undo = self._watch(WATCH_KINDS[kind], address, length)
        elif decide is None:
            machine.breakpoints.add(address)
            undo = functools.partial(machine.breakpoints.remove, address)
        else:
            view, decides = self._view, decide
            asked: Callable[[Core], bool] = lambda core: decides(view)  # noqa: E731
            machine.conditional_breakpoints.add(address, asked)
            undo = functools.partial(machine.conditional_breakpoints.remove, address, asked)
        self._points[key] = undo, None if isinstance(kind, WatchKind) else decide or (lambda _: True)
        if persistent:
            self._persistent.add(key)

    def _watch(self, kind: str, address: int, length: int) -> Callable[[], None]:
        """Watch memory; what undoes that. Where there is none, as behind a null pointer, nothing can be accessed."""
        try:
            self._machine.watchpoints.add(kind, address, length)
        except NothingThere:
            return lambda: None
        return functools.partial(self._machine.watchpoints.remove, kind, address, length)

    def remove(self, key: Key) -> None:
        """Undo `insert`; removing what is not there does nothing."""
        known = self._points.pop(key, None)
        if known is not None:
            self._persistent.discard(key)
            known[0]()

    def debugger_left(self) -> None:
        """Remove all but those that outlast their debugger."""
        for key in self._points.keys() - self._persistent:
            self.remove(key)

    def remove_left(self) -> None:
        """Remove those that outlast their debugger."""
        for key in list(self._persistent):
            self.remove(key)

    def stop_here(self) -> bool:
        """Whether a breakpoint is to stop the guest where it is."""
        pc = self._machine.registers.pc
        here = [decide for (_, address, _), (_, decide) in self._points.items() if decide and address == pc]
        return any([decide(self._view) for decide in here])
