# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline of a machine: what happened, and going back and forth in it.

A position is a count of the guest's own instructions. The timeline takes checkpoints while the guest runs, and keeps
what enters from outside (see `history.py`). To go to a position it restores the checkpoint before that, and has the
guest run up to it, with the same input at the same positions. The user's handlers are not called again on that way:
what they changed in the guest is applied.

While the machine is `live`, its history grows. After `go` it is in the past: a run follows the history until that ends,
and is live from there. Any input before that begins another branch of the history there (see `branches.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from armprobe.machine.devices.timer import FREQUENCY
from armprobe.machine.errors import MachineError
from armprobe.machine.input import Input, InputKind
from armprobe.machine.stop import Stop, StopReason

from . import search
from .branches import Branch, Branches, History
from .calls import PastCall, Selects, past_calls
from .history import Event, Marker
from .kept import Kept
from .pacing import Pacing
from .replay import Replay
from .search import Holds, Looked
from .stages import go_into, stop_before, stop_in_hit

if TYPE_CHECKING:
    from armprobe.machine.core.run_loop import Run
    from armprobe.machine.machine import Machine
    from armprobe.machine.native.program import Program

    from .checkpoint import Checkpoint

_NEAR: Final = 300_000  # instructions, some 10 ms of Linux at work: a way for which no checkpoint is taken
_SHORT: Final = 100_000  # instructions before a position gone to, at which a checkpoint is taken for steps back from it
_STRIDE: Final = 500_000  # instructions of a replay after which it is time for a checkpoint, or not
HISTORY_MEMORY: Final = 512 << 20


class Timeline:
    """The history of one machine. With `enabled` False there is none, and the machine cannot go back."""

    def __init__(self, machine: Machine, enabled: bool, memory: int = HISTORY_MEMORY) -> None:
        self._machine = machine
        self.enabled = enabled
        self.live = True
        self.going = False
        """Whether the machine is on its way to a position, which nobody but the timeline sees."""
        self._leaving = False  # whether it takes checkpoints on that way
        self.pacing = Pacing()
        self.tree = Branches(machine, memory)
        """The branches with all that is kept of them."""
        self.replay = Replay(machine)
        self.diverting = False  # whether what happens now is undone
        self._put_back: Callable[[], None] = machine.put_back_first
        self.observations: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        """Pairs of functions that save and put back what was recorded of the run, which a look at the past leaves."""
        self.on_branch: Callable[[str], None] = lambda left: None
        """Called when a branch has begun, with the name of the one that was left."""
        self.shortened = False  # whether the oldest part was dropped
        self.begin(machine.put_back_first)
        if enabled:
            machine.input.listeners.append(self._entered)
            machine.input.history = self

    def begin(self, put_back: Callable[[], None]) -> None:
        """Begin the history anew with the present state, which `put_back` restores."""
        self.replay.cursor, self.replay.interrupts, self.live = 0, True, True
        self.shortened = self._from_file = False
        self._put_back = put_back
        self.tree.begin(self.position)
        self._use_current()
        self.pacing.begin(self.position)

    def adopt(self, current: History, left: Iterable[History]) -> None:
        """Have the history of a file instead, with the branches in which the machine is not, those left last first."""
        self.tree.adopt(current, left)
        self._from_file = True
        self._use_current()
        self._log.find_orphans(self.replay.cursor)

    def _use_current(self) -> None:
        """Go on in the branch that is now the current one."""
        current = self.tree.current
        self._log, self._kept, self.replay.log = current.log, current.kept, current.log
        self.begun = current.log.begun
        self.marks: dict[str, int] = current.marks  # positions of this branch by name

    @property
    def memory(self) -> int:
        """The bytes of memory that the history may take: the input a quarter, the checkpoints the rest."""
        return self.tree.memory

    @memory.setter
    def memory(self, memory: int) -> None:
        self.tree.memory = memory

    # Where it is

    @property
    def position(self) -> int:
        """The count of the guest's own instructions since reset."""
        return self._machine.clock.executed

    @property
    def start(self) -> int:
        """The first position of the history."""
        return self._kept.first.position

    @property
    def end(self) -> int:
        """The last position of the history: the present one, if the machine has not gone back."""
        return self.position if self.live else self.tree.current.end

    @property
    def branch(self) -> str:
        """The name of the branch that the machine is in."""
        return self.tree.current.name

    @property
    def branches(self) -> list[Branch]:
        """All branches, in the order of the positions at which they were begun."""
        return self.tree.list(self.end)

    def marked(self, mark: str) -> tuple[str, int] | None:
        """The branch and the position of a mark, None if there is none of that name."""
        return self.tree.marked(mark)

    def rename_branch(self, name: str) -> None:
        """Give the branch that the machine is in another name. Raises MachineError if another branch has it."""
        self.tree.rename(name)

    def drop_branch(self, name: str) -> None:
        """Forget the branch of that name. Raises MachineError for the one that the machine is in."""
        self.tree.drop(name)

    # What happens, as the machine tells

    def _entered(self, entered: Input) -> None:
        if self.replay.applying or entered.kind is InputKind.STATE:
            return
        self._branch()
        self._log.append(Event.of(entered))
        if self.tree.full and self._machine.clock.running is None:
            self._shorten()

    def _branch(self) -> None:
        """Something other than the history happens here: begin a branch."""
        if self.live:
            return
        left = self.branch
        self.tree.fork(self.position, self.replay.cursor)
        self._use_current()
        self.live = True
        self.pacing.begin(self._kept.last.position)
        self.on_branch(left)

    def _mark(self, marker: Marker, where: Any = "", value: Any = None) -> None:
        clock = self._machine.clock
        self._log.append(Event(clock.executed, clock.now, marker, where, value))

    def call_begins(self) -> None:
        """A guest function is called from outside: its input has been announced."""
        if not self.replay.applying:
            self._log.open.append(Marker.CALL_END)

    def call_ends(self, returned: bool) -> None:
        """It is over."""
        if not self.replay.applying:
            self._log.open.pop()
            self._mark(Marker.CALL_END, "", returned)

    def handler_ends(self, result: object) -> None:
        """A handler has returned `result` that is kept, because it did something to the guest."""
        self._mark(Marker.HANDLER_END, "", result)
        self._log.open.pop()

    # Runs

    def before_slice(self, run: Run, depth: int) -> None:
        """Called by the scheduler before each slice: take a checkpoint if it is time, or replay what is due."""
        if not self.enabled:
            return
        if not self.live and not self.diverting:
            if not self.replay.handlers and not self._finishing():
                self.replay_due(run)
                if self._leaving and depth == 1 and not self.live:
                    if self.pacing.due_again(self.position):
                        self._take_or_not()
                    run.limit = min(self.position + _STRIDE, self.end if run.limit is None else run.limit)
            if not self.live:
                return
        run.limit, run.interrupts = run.end, run.asked
        if depth > 1 or self.diverting:
            return
        if run.interrupts is not self.replay.interrupts:
            self.replay.interrupts = run.interrupts
            self._mark(Marker.MODE, "", run.interrupts)
        if self.pacing.due(self._machine.clock.executed):
            self._take_or_not()
        if self.tree.full:
            self._shorten()

    def _take_or_not(self) -> None:
        with contextlib.suppress(MachineError):  # the disk is full: the guest goes on without this one
            self.take()

    def _finishing(self) -> bool:
        """Whether the guest is at the end of the history, but in a hit whose handlers have been called before that."""
        return self.position >= self.end and self._machine.core.load().pc in self._machine.scratch

    def take(self) -> None:
        """Take a checkpoint here, if the machine's state is one that can be gone on from."""
        if self._can_take() and self._kept.at(self.position) is None:
            with self.pacing.taking(self.position):
                kept = self._taken()
            self.tree.keep(kept)

    def _can_take(self) -> bool:
        return not self._log.open and self._machine.core.load().pc not in self._machine.scratch

    def _taken(self) -> Kept:
        number = len(self._log.events) if self.live else self.replay.cursor
        return Kept(self.position, number, self.replay.interrupts, self._machine.checkpoints.take(exact=not self.live))

    def _shorten(self) -> None:
        """Throw other branches away, and drop the oldest part of the history, until events take what they may."""
        self.tree.make_room()
        if not self.tree.full or not self._can_take():
            return
        if (here := self._kept.at(self.position)) is not None:
            self.tree.replace(here, self._taken())  # what has entered here since came after it
        self.take()
        self.tree.shorten()
        self.shortened = True

    def replay_due(self, run: Run) -> None:
        """Enter what is due here again. At the end of the history, the machine is live then."""
        current = self.tree.current
        self.live = self.replay.due(run, current.end, current.end_time)

    def replay_handler(self, handler: Callable[..., Any], registers: Any) -> Any:
        """Do to the guest what `handler` did at this hit; returns what it returned."""
        return self.replay.handler(handler, registers)

    # Going

    def go(self, position: int | None, branch: str | None = None) -> None:
        """Go to `position`, of the past or of the future that was gone back from; None is the end.

        With `branch`, go there in the branch of that name. Raises MachineError for a position outside the history, one
        within a call of a guest function that was made from outside, and a branch that is not there or no more.
        """
        self._prepare()
        history, position = self._target(position, branch)
        if self.live and position == self.position and history is self.tree.current:
            return
        self._leave_present()
        if history is not self.tree.current:
            self._switch(history, position)
        self._go(position)

    def _target(self, position: int | None, branch: str | None) -> tuple[History, int]:
        history = self.tree.current if branch is None else self.tree.named(branch)
        end = self.end if history is self.tree.current else history.end
        position = end if position is None else position
        history.check(position, end, self.shortened)
        return history, position

    def _switch(self, history: History, position: int) -> None:
        """Go to another branch, near `position` in it."""
        self.tree.switch(history)
        self._use_current()
        self.restore_kept(self._base_of(position))

    def at_time(self, seconds: float) -> int:
        """The first position in the history at which guest time is `seconds` since reset."""
        self._prepare()
        with self.excursion():
            return search.position_at(self, self._machine, int(seconds * FREQUENCY))

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
        within = search.in_hit(self._machine)
        return stop_before(self, self._machine) or search.last_stop(self, self._machine, hits=not within)

    def last_write(self, address: int, size: int) -> search.Write | None:
        """The last write before this position to any of `size` bytes at virtual `address`. None if there was none.

        The address is translated now, and a write through any other mapping of that memory counts. Raises MachineError
        where there is no memory.
        """
        self._prepare()
        return search.last_write(self, self._machine, address, size)

    def first_write(self, address: int, size: int) -> search.Write | None:
        """The first write in the history, up to this position, to any of `size` bytes there. As `last_write` does."""
        self._prepare()
        return search.first_write(self, self._machine, address, size)

    def last_change(self, register: str) -> search.RegisterChange | None:
        """The last change of a register before this position. Looks 50,000 instructions back: raises MachineError."""
        self._prepare()
        return search.last_change(self, self._machine, register)

    def last_true(
        self, holds: Holds, program: Program | None = None, within: int | None = None, looked: Looked = lambda _: None
    ) -> int | None:
        """The last position before this one at which `holds` is true of the machine; None if it never was.

        Looks back `within` so many instructions, or to the start. `program` is the same for the C core, which is much
        faster. `looked` is called with positions from which on it was not true, to show progress.
        """
        self._prepare()
        return search.last_true(self, self._machine, holds, program, within, looked)

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
        here, was_live, history = self.position, self.live, self.tree.current
        recorded = [(put_back, save()) for save, put_back in self.observations]
        stop = stop_in_hit(self._machine)
        with self._machine.unnoticed():
            self._leave_present()
            try:
                yield
            finally:
                if history is not self.tree.current:
                    self._switch(history, here)
                self._go(here, stop)
                assert self.live or not was_live
                for put_back, saved in recorded:
                    put_back(saved)

    @contextlib.contextmanager
    def diversion(self) -> Iterator[Checkpoint]:
        """A context for something done to look at the past: afterwards the guest and its history are as before.

        Gives the state before it.
        """
        gate, checkpoints = self._machine.input, self._machine.checkpoints
        here, cursor, interrupts = checkpoints.take(), self.replay.cursor, self.replay.interrupts
        self.replay.applying = self.diverting = True
        gate.history = None
        try:
            yield here
        finally:
            checkpoints.restore(here)
            checkpoints.drop(here)
            gate.history = self
            self.replay.applying = self.diverting = False
            self.replay.cursor, self.replay.interrupts = cursor, interrupts
            self._log.find_orphans(cursor)

    @property
    def looking_back(self) -> bool:
        """Whether the machine is stopped in the past, where a call is a diversion."""
        return not self.live and not self.going and not self.replay.applying and not self._machine.core.held

    def visit(self, position: int | None, branch: str | None = None) -> None:
        """Go to a position within an excursion, in another branch too. None is the end. Raises as `go` does."""
        history, position = self._target(position, branch)
        if history is not self.tree.current:
            self.tree.switch(history)
            self._use_current()
        self.replay_from_before(position)
        if position == history.end:
            self._enter_rest()
            self.live, self.replay.cursor = False, len(self._log.events)

    def replay_from_before(self, position: int) -> None:
        """Go to `position` within an excursion."""
        self.restore_kept(self._base_of(position))
        self.replay_to(position)

    def _prepare(self) -> None:
        if not self.enabled:
            raise MachineError("this machine keeps no history (--no-history): start it without that to go back")
        if self._from_file and (missing := self._machine.devices.awaited):
            raise MachineError(f"the guest has a device {missing[0]!r}: add it to the machine's devices to go back")
        self._machine.refuse_in_handler()

    def _leave_present(self) -> None:
        if not self.live:
            return
        if self.position - self._kept.last.position > _NEAR and self._machine.core.dispatcher.resume is None:
            self.take()
        current = self.tree.current
        current.end, current.end_time, current.stop = self.position, self._machine.clock.now, stop_in_hit(self._machine)
        self.live = False
        self.replay.cursor = len(self._log.events)

    def _go(self, position: int, stop: Stop | None = None) -> None:
        """Go to `position`, and to the stage of a hit there that the machine had stopped at, if `stop` is that."""
        if position == self.end and stop is None:
            stop = self.tree.current.stop
        if stop is not None and go_into(self, self._machine, stop, position):
            return
        base = self._base_of(position)
        here = self.position
        if not base.position <= here <= position or self._machine.core.load().pc in self._machine.scratch:
            self.restore_kept(base)
        way = position - self.position
        if way > _NEAR and position - self.start > _SHORT:
            self.replay_to(position - _SHORT, leaving=True)
            self.take()
        self.replay_to(position)
        if position == self.end:
            self._enter_rest()

    def _base_of(self, position: int) -> Kept:
        """The checkpoint to go to `position` from. Events at the position itself come after it, but at the end."""
        if position == self.end:
            return self._kept.last
        return self._kept.base_of(position, self._log.events)

    def restore_kept(self, kept: Kept) -> None:
        outer, self.replay.applying = self.replay.applying, True
        try:
            if kept.checkpoint is None:
                self._put_back()
            else:
                self._machine.checkpoints.restore(kept.checkpoint)
        finally:
            self.replay.applying = outer
        self.replay.cursor, self.replay.interrupts = kept.events, kept.interrupts
        self._log.find_orphans(self.replay.cursor)
        self.pacing.begin(kept.position)

    def replay_to(self, position: int, leaving: bool = False) -> None:
        """Run to `position` as the history says, without anybody noticing, and leave checkpoints if asked to."""
        with self.quietly(leaving):
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
            self.replay_due(run)

    @contextlib.contextmanager
    def quietly(self, leaving: bool = False) -> Iterator[None]:
        """A context for replays. They leave checkpoints, near to each other, if more is executed there soon."""
        outer = self.going, self._leaving
        self.going, self._leaving = True, leaving
        try:
            with self._machine.console.muted():
                yield
        finally:
            self.going, self._leaving = outer
