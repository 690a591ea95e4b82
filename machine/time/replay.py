# SPDX-License-Identifier: GPL-2.0-or-later
"""Enters the events of a log into a machine again, each at its position."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from armprobe.machine.errors import MachineError
from armprobe.machine.input import InputKind

from .history import EventLog, Marker, enter_again, set_register

if TYPE_CHECKING:
    from armprobe.machine.core.run_loop import Run
    from armprobe.machine.machine import Machine


class Replay:
    """The replay of `log` on one machine, which is at the event with the index `cursor`.

    `interrupts` says whether interrupts are taken, `applying` whether the machine does something that is no input,
    `handlers` is how many handlers are being replayed, one within the other. `on_event` is called before and after
    each input, see `search.py`.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.log = EventLog()
        self.cursor = self.handlers = 0
        self.interrupts = True
        self.applying = False
        self.on_event: Callable[[int, bytes | None], bytes] | None = None

    def due(self, run: Run, end: int, end_time: int) -> bool:
        """Enter what is due at this position again, and have the run end where more is due.

        Returns whether this is the end of the log, which is at the position `end` and the timer's count `end_time`.
        """
        while self.cursor < len(self.log.events):
            event = self.log.events[self.cursor]
            gone = self.log.next_orphan(self.cursor) == self.cursor
            alone = event.kind is Marker.HANDLER and (gone or self._comes_first())
            if event.position > self._machine.instructions or not (
                alone or self.log.next_plain(self.cursor) == self.cursor
            ):
                break
            self._skip_idle(event.time)
            if alone:
                self._handler(None)
            elif event.kind is Marker.CALL_END:
                return False  # within the call
            else:
                self._enter_next()
        if self.cursor == len(self.log.events) and self._machine.instructions >= end:
            self._skip_idle(end_time)
            return True
        ends = self.log.next_plain(self.cursor), self.log.next_orphan(self.cursor)
        limit = min([end, *(self.log.events[index].position for index in ends if index is not None)])
        if limit < self._machine.instructions:
            raise MachineError(
                f"what happened at position {limit} does not come again: a handler of a probe was called there that is "
                "not hit now. The history up to there can be gone to"
            )
        run.limit = limit if run.end is None else min(run.end, limit)
        run.interrupts = self.interrupts
        return False

    def _skip_idle(self, count: int) -> None:
        """Let the time pass that had passed in a wait for an interrupt when something entered."""
        if count > self._machine.clock.now:
            self._machine.clock.skip_to(count)

    def _comes_first(self) -> bool:
        """Whether something is due here that entered after the handler at the cursor, as at a stop of its probe."""
        plain = self.log.next_plain(self.cursor)
        return plain is not None and self.log.events[plain].position <= self._machine.instructions

    def _enter_next(self) -> None:
        """Enter the event at the cursor. For a call, this includes all that happens within it."""
        index = self.cursor
        event = self.log.events[index]
        self.cursor += 1
        if event.kind is Marker.MODE:
            self.interrupts = event.value
            return
        call_until, end = None, index
        if event.kind is InputKind.CALL:
            end = self.log.end_of(index)
            call_until = None if self.log.events[end].value else self.log.events[end].position
        outer, self.applying = self.applying, True
        before = None if self.on_event is None else self.on_event(event.position, None)
        try:
            with self._machine.input.own_action():
                enter_again(self._machine, event, call_until)
        finally:
            self.applying = outer
        if self.on_event is not None and event.kind is not InputKind.CALL:
            self.on_event(event.position, before)
        self.cursor = end + 1

    def handler(self, handler: Callable[..., Any], registers: Any) -> Any:
        """Do to the guest what `handler` did at this hit; returns what it returned."""
        if self.cursor >= len(self.log.events):
            return None
        event = self.log.events[self.cursor]
        if event.kind is not Marker.HANDLER or event.position != self._machine.instructions or event.where != handler:
            return None  # it was not called, or did nothing
        return self._handler(registers)

    def _handler(self, registers: Any) -> Any:
        """The same for the handler at the cursor. `registers` are None if there is no hit, and the CPU's are set."""
        end = self.log.end_of(self.cursor)
        self.cursor += 1
        self.handlers += 1
        try:
            while self.cursor < end:
                event = self.log.events[self.cursor]
                if event.kind is InputKind.HANDLER and registers is not None:
                    self.cursor += 1
                    set_register(registers, event.where, event.value)
                else:
                    self._enter_next()
        finally:
            self.handlers -= 1
            self.cursor = end + 1
        return self.log.events[end].value
