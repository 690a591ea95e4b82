# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline of a machine: what happened, and going back and forth in it.

A position is a count of the guest's own instructions. The timeline takes checkpoints while the guest runs, and keeps
what enters from outside (see `history.py`). To go to a position it restores the checkpoint before that, and has the
guest run up to it, with the same input at the same positions. The user's handlers are not called again on that way:
what they changed in the guest is applied.

While the machine is `live`, its history grows. After `go` it is in the past: a run follows the history until that ends,
and is live from there. Any input before that ends the history there, and a new one begins.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.errors import MachineError
from armprobe.machine.input import Input, InputKind
from armprobe.machine.stop import Stop, StopReason

from .calls import PastCall, Selects, past_calls
from .history import Event, EventLog, Marker, enter_again, set_register, size_of
from .kept import Kept, KeptStates
from .search import RegisterChange, Write, first_write, last_change, last_stop, last_write, position_at

if TYPE_CHECKING:
    from armprobe.machine.core.run_loop import Run
    from armprobe.machine.machine import Machine

SPACING: Final = 40_000_000
"""Instructions between two checkpoints: a fifth of a second to execute."""
_SHARE: Final = 30  # a checkpoint may take a 30th of the time since the last one was taken
_NEAR: Final = 2_000_000  # instructions, some 10 ms: a way for which no checkpoint is taken
_SHORT: Final = 100_000  # instructions before a position gone to, at which a checkpoint is taken for steps back from it
MEMORY: Final = 512 << 20


class Timeline:
    """The history of one machine. With `enabled` False there is none, and the machine cannot go back."""

    def __init__(self, machine: Machine, enabled: bool, memory: int = MEMORY) -> None:
        self._machine = machine
        self.memory = memory
        """The bytes of memory that the history may take: the input a quarter, the checkpoints the rest."""
        self.enabled = enabled
        self.live = True
        self.going = False
        """Whether the machine is on its way to a position, which nobody but the timeline sees."""
        self.spacing = SPACING
        self.marks: dict[str, int] = {}
        """Positions by name."""
        self._log = EventLog()
        self._events = self._log.events
        self._cursor = self._depth = 0  # the next event, in the past; handlers being replayed
        self._applying = self._diverting = False
        self._present = self._present_time = 0  # where the history ends, in the past
        self._interrupts = True  # the mode
        self._put_back: Callable[[], None] = machine.put_back_first
        self.on_event: Callable[[int, bytes | None], bytes] | None = None  # called before and after each input
        self._kept = KeptStates(machine)
        self._due = 0
        self._taken_at = self._cost = 0.0
        self._shortened = False  # whether the oldest part was dropped
        self.begin(machine.put_back_first)
        if enabled:
            machine.input.listeners.append(self._entered)
            machine.input.history = self

    def begin(self, put_back: Callable[[], None]) -> None:
        """Begin the history anew with the present state, which `put_back` restores."""
        self._log.cut(0)
        self.marks.clear()
        self._cursor, self.live, self._interrupts, self._shortened = 0, True, True, False
        self._put_back = put_back
        self._kept.begin(self.position)
        self._due = self.position + self.spacing

    # Where it is

    @property
    def position(self) -> int:
        """The count of the guest's own instructions since reset."""
        return self._machine.instructions

    @property
    def start(self) -> int:
        """The first position of the history."""
        return self._kept.first.position

    @property
    def end(self) -> int:
        """The last position of the history: the present one, if the machine has not gone back."""
        return self.position if self.live else self._present

    # What happens, as the machine tells

    def _entered(self, entered: Input) -> None:
        if self._applying or entered.kind is InputKind.STATE:
            return
        self._branch()
        self._log.append(Event.of(entered))
        if self._log.size > self.memory // 4 and self._machine.clock.running is None:
            self._shorten()

    def _branch(self) -> None:
        """Something other than the history happens here: what came after it did not."""
        if self.live:
            return
        self._log.cut(self._cursor)
        self._kept.drop_after(self.position, self._cursor)
        self.live = True
        self._due = self._kept.last.position + self.spacing

    def _mark(self, marker: Marker, where: Any = "", value: Any = None) -> None:
        clock = self._machine.clock
        self._log.append(Event(clock.executed, clock.now, marker, where, value))

    def call_begins(self) -> None:
        """A guest function is called from outside: its input has been announced."""
        if not self._applying:
            self._log.open.append(Marker.CALL_END)

    def call_ends(self, returned: bool) -> None:
        """It is over."""
        if not self._applying:
            self._log.open.pop()
            self._mark(Marker.CALL_END, "", returned)

    def handler_begins(self, handler: Callable[..., Any], probe: object) -> None:
        """A handler of a probe is about to be called."""
        self._log.begin_handler(handler, probe, self._machine.clock.idle)

    def handler_ends(self, result: object) -> None:
        """It has returned `result`. Nothing is kept of one that did nothing to the guest."""
        if result or not self._log.end_idle_handler():
            self._mark(Marker.HANDLER_END, "", result)
            self._log.open.pop()

    # Runs

    def before_slice(self, run: Run, depth: int) -> None:
        """Called by the scheduler before each slice: take a checkpoint if it is time, or replay what is due."""
        if not self.enabled:
            return
        if not self.live and not self._diverting:
            if not self._depth:
                self._replay_due(run)
            if not self.live:
                return
        run.limit, run.interrupts = run.end, run.asked
        if depth > 1 or self._diverting:
            return
        if run.interrupts is not self._interrupts:
            self._interrupts = run.interrupts
            self._mark(Marker.MODE, "", run.interrupts)
        if self.position >= self._due:
            self._take_if_cheap()
        if self._log.size > self.memory // 4:
            self._shorten()

    def _take_if_cheap(self) -> None:
        now = time.monotonic()
        if now - self._taken_at < _SHARE * self._cost:
            self._due = self.position + self.spacing // 8
            return
        self.take()

    def take(self) -> None:
        """Take a checkpoint here, if the machine's state is one that can be gone on from."""
        if self._can_take() and self._kept.at(self.position) is None:
            began = time.monotonic()
            kept = self._taken()
            self._taken_at = time.monotonic()
            self._cost = self._taken_at - began
            self._due = self.position + self.spacing
            self._kept.take(kept, self.memory - self._log.size)

    def _can_take(self) -> bool:
        return not self._log.open and self._machine.core.load().pc not in self._machine.scratch

    def _taken(self) -> Kept:
        number = len(self._events) if self.live else self._cursor
        return Kept(self.position, number, self._interrupts, self._machine.checkpoints.take())

    def _shorten(self) -> None:
        """Drop the oldest part of the history, so that its input takes half of its share of memory or less."""
        if not self._can_take():
            return
        if (here := self._kept.at(self.position)) is not None:
            self._kept.replace(here, self._taken())  # what has entered here since came after it
        self.take()
        excess, first = self._log.size - self.memory // 8, 0
        while excess > 0 and first < len(self._events):
            excess -= size_of(self._events[first])
            first += 1
        self._log.forget(self._kept.begin_with(first))
        self._shortened = True

    # Replay

    def _replay_due(self, run: Run) -> None:
        """Enter what is due at this position again, and have the run end where more is due."""
        while self._cursor < len(self._events):
            event = self._events[self._cursor]
            gone = self._log.next_orphan(self._cursor) == self._cursor
            alone = event.kind is Marker.HANDLER and (gone or self._comes_first())
            if event.position > self.position or not (alone or self._log.next_plain(self._cursor) == self._cursor):
                break
            self._skip_idle(event.time)
            if alone:
                self._replay_handler(None)
            elif event.kind is Marker.CALL_END:
                return  # within the call
            else:
                self._enter_next()
        if self._cursor == len(self._events) and self.position >= self._present:
            self._skip_idle(self._present_time)
            self.live = True
            return
        ends = self._log.next_plain(self._cursor), self._log.next_orphan(self._cursor)
        limit = min([self._present, *(self._events[index].position for index in ends if index is not None)])
        if limit < self.position:
            raise MachineError(
                f"what happened at position {limit} does not come again: a handler of a probe was called there that is "
                "not hit now. The history up to there can be gone to"
            )
        run.limit = limit if run.end is None else min(run.end, limit)
        run.interrupts = self._interrupts

    def _skip_idle(self, count: int) -> None:
        """Let the time pass that had passed in a wait for an interrupt when something entered."""
        if count > self._machine.clock.now:
            self._machine.clock.skip_to(count)

    def _comes_first(self) -> bool:
        """Whether something is due here that entered after the handler at the cursor, as at a stop of its probe."""
        plain = self._log.next_plain(self._cursor)
        return plain is not None and self._events[plain].position <= self.position

    def _enter_next(self) -> None:
        """Enter the event at the cursor. For a call, this includes all that happens within it."""
        index = self._cursor
        event = self._events[index]
        self._cursor += 1
        if event.kind is Marker.MODE:
            self._interrupts = event.value
            return
        call_until, end = None, index
        if event.kind is InputKind.CALL:
            end = self._log.end_of(index)
            call_until = None if self._events[end].value else self._events[end].position
        outer, self._applying = self._applying, True
        before = None if self.on_event is None else self.on_event(event.position, None)
        try:
            with self._machine.input.own_action():
                enter_again(self._machine, event, call_until)
        finally:
            self._applying = outer
        if self.on_event is not None and event.kind is not InputKind.CALL:
            self.on_event(event.position, before)
        self._cursor = end + 1

    def replay_handler(self, handler: Callable[..., Any], registers: Any) -> Any:
        """Do to the guest what `handler` did at this hit; returns what it returned."""
        if self._cursor >= len(self._events):
            return None
        event = self._events[self._cursor]
        if event.kind is not Marker.HANDLER or event.position != self.position or event.where != handler:
            return None  # it was not called, or did nothing
        return self._replay_handler(registers)

    def _replay_handler(self, registers: Any) -> Any:
        """The same for the handler at the cursor. `registers` are None if there is no hit, and the CPU's are set."""
        end = self._log.end_of(self._cursor)
        self._cursor += 1
        self._depth += 1
        try:
            while self._cursor < end:
                event = self._events[self._cursor]
                if event.kind is InputKind.HANDLER and registers is not None:
                    self._cursor += 1
                    set_register(registers, event.where, event.value)
                else:
                    self._enter_next()
        finally:
            self._depth -= 1
            self._cursor = end + 1
        return self._events[end].value

    # Going

    def go(self, position: int) -> None:
        """Go to `position`, of the past or of the future that was gone back from.

        Raises MachineError for a position outside the history, and one within a call of a guest function that was made
        from outside.
        """
        self._prepare()
        self._check(position)
        if self.live and position == self.position:
            return
        self._leave_present()
        self._go(position)

    def go_to_time(self, seconds: float) -> None:
        """Go to the first position at which guest time is `seconds` since reset. Raises as `go` does."""
        self._prepare()
        self.go(position_at(self, self._machine, int(seconds * FREQUENCY)))

    def reverse_step(self, count: int = 1) -> None:
        """Go back by `count` instructions, at most to the start of the history."""
        self._prepare()
        target = max(self.start, self.position - count)
        inside = self._log.call_around(target)
        self.go(target if inside is None else inside[0])

    def reverse_continue(self) -> Stop:
        """Go back to the last stop before this position: a breakpoint, a change of watched memory, or a probe's stop.

        Without one, goes to the start of the history, with the reason HISTORY_START.
        """
        self._prepare()
        self._leave_present()
        return last_stop(self, self._machine)

    def last_write(self, address: int, size: int) -> Write | None:
        """The last write before this position to any of `size` bytes at virtual `address`. None if there was none.

        The address is translated now, and a write through any other mapping of that memory counts. Raises MachineError
        where there is no memory.
        """
        self._prepare()
        return last_write(self, self._machine, address, size)

    def first_write(self, address: int, size: int) -> Write | None:
        """The first write in the history, up to this position, to any of `size` bytes there. As `last_write` does."""
        self._prepare()
        return first_write(self, self._machine, address, size)

    def last_change(self, register: str) -> RegisterChange | None:
        """The last change of a register before this position. Looks 50,000 instructions back: raises MachineError."""
        self._prepare()
        return last_change(self, self._machine, register)

    def calls(self, function: str | int, condition: Selects | None = None) -> list[PastCall]:
        """The calls of `function` in the whole history, in order of position.

        `condition` is called with the machine at the first instruction of each, and says whether the call is wanted.
        Raises MachineError for more than 100,000.
        """
        self._prepare()
        return past_calls(self, self._machine, self._machine.address(function), condition, single=False)

    def first_call(self, function: str | int, condition: Selects | None = None) -> PastCall | None:
        """The first of them. None if there is none."""
        self._prepare()
        found = past_calls(self, self._machine, self._machine.address(function), condition, single=True)
        return found[0] if found else None

    # For the searches

    def kept_before(self, position: int) -> list[Kept]:
        """The checkpoints before `position`, newest first."""
        return self._kept.before(position)

    @contextlib.contextmanager
    def excursion(self) -> Iterator[None]:
        """A context that goes through the past, and comes back."""
        here, was_live = self.position, self.live
        with self._machine.unnoticed():
            self._leave_present()
            try:
                yield
            finally:
                self._go(here)
                assert self.live is was_live

    @contextlib.contextmanager
    def diversion(self) -> Iterator[None]:
        """A context for something done to look at the past: afterwards the guest and its history are as before."""
        gate, checkpoints = self._machine.input, self._machine.checkpoints
        here, cursor, interrupts = checkpoints.take(), self._cursor, self._interrupts
        self._applying = self._diverting = True
        gate.history = None
        try:
            yield
        finally:
            checkpoints.restore(here)
            checkpoints.drop(here)
            gate.history = self
            self._applying = self._diverting = False
            self._cursor, self._interrupts = cursor, interrupts

    @property
    def looking_back(self) -> bool:
        """Whether the machine is stopped in the past, where a call is a diversion."""
        return not self.live and not self.going and not self._applying and not self._machine.core.held

    def replay_from_before(self, position: int) -> None:
        """Go to `position` within an excursion."""
        self.restore_kept(self._base_of(position))
        self.replay_to(position)

    def _prepare(self) -> None:
        if not self.enabled:
            raise MachineError("this machine keeps no history (--no-history): start it without that to go back")
        self._machine.refuse_in_handler()

    def _check(self, position: int) -> None:
        if position < self.start:
            why = "; what came before was dropped, as it took too much memory (--history-memory)" * self._shortened
            raise MachineError(f"the history begins at position {self.start}: {position} is before that{why}")
        if position > self.end:
            raise MachineError(f"the history ends at position {self.end}: run the guest on to get to {position}")
        inside = self._log.call_around(position)
        if inside is not None:
            first, end = inside
            raise MachineError(
                f"position {position} is within a call of a guest function made from outside, which is at {first} and "
                f"ends at {end}: go to one of these"
            )

    def _leave_present(self) -> None:
        if not self.live:
            return
        if self.position - self._kept.last.position > _NEAR and self._machine.core.dispatcher.resume is None:
            self.take()
        self._present, self._present_time = self.position, self._machine.clock.now
        self.live = False
        self._cursor = len(self._events)

    def _go(self, position: int) -> None:
        base = self._base_of(position)
        here = self.position
        if not base.position <= here <= position or self._machine.core.load().pc in self._machine.scratch:
            self.restore_kept(base)
        way = position - self.position
        if way > _NEAR and position - self.start > _SHORT:
            self.replay_to(position - _SHORT)
            self.take()
        self.replay_to(position)
        if position == self.end:
            self._enter_rest()

    def _base_of(self, position: int) -> Kept:
        """The checkpoint to go to `position` from. Events at the position itself come after it, but at the end."""
        if position == self.end:
            return self._kept.last
        return self._kept.base_of(position, self._events)

    def restore_kept(self, kept: Kept) -> None:
        outer, self._applying = self._applying, True
        try:
            if kept.checkpoint is None:
                self._put_back()
            else:
                self._machine.checkpoints.restore(kept.checkpoint)
        finally:
            self._applying = outer
        self._cursor, self._interrupts = kept.events, kept.interrupts
        self._log.find_orphans(self._cursor)

    def replay_to(self, position: int) -> None:
        """Run to `position` as the history says, without anybody noticing."""
        with self.quietly():
            while True:
                stop = self._machine.scheduler.run(None, max(0, position - self.position), interrupts=True)
                if stop.reason is StopReason.INSTRUCTIONS or (stop.reason.final and self.position >= position):
                    break
                if stop.reason is StopReason.INTERRUPTED:
                    raise MachineError(f"interrupted on the way to position {position}, at {self.position}")
                if stop.reason.final or stop.reason is StopReason.IDLE:
                    raise MachineError(f"the replay ended at position {self.position}, before {position}: {stop}")

    def _enter_rest(self) -> None:
        """At the end of the history, enter what entered there."""
        run = self._machine.core.run_loop.begin(None, True, self.position)
        with self.quietly():
            self._replay_due(run)

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        outer, self.going = self.going, True
        try:
            with self._machine.console.muted():
                yield
        finally:
            self.going = outer
