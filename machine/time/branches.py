# SPDX-License-Identifier: GPL-2.0-or-later
"""The branches of a timeline: the history that the machine is in, and those that it has left.

Something that enters in the past begins a branch there, and what came after that position stays in the branch that is
left. Each branch is a whole history from the start on. Branches share the events and checkpoints of what they have in
common. A branch that was left can be executed again from any checkpoint before it, so its own ones are the first to go
when memory is short. Its events cannot be found again: a branch whose events do not fit is thrown away.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.stop import Stop

from .history import EventLog, size_of
from .kept import Kept, KeptStates

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

FIRST: Final = "main"
MOST_BRANCHES: Final = 64
"""The most branches that are kept besides the present one."""
_LISTED: Final = 32  # bytes that an event takes in the lists of one more branch
_SHOWN: Final = 100  # names of branches that were thrown away


@lazy_dataclass
class Branch:
    """A branch of the timeline.

    It was begun at the position `fork` of the branch `parent` (None for the first one), and reaches to the position
    `end`. `current` says whether the machine is in it.
    """

    name: str
    parent: str | None
    fork: int
    end: int
    current: bool


@dataclass(eq=False)
class History:
    """One branch with all that is kept of it.

    `end`, `end_time` and `stop` are set when the machine leaves its end: the position, the timer's count, and the stop
    if that was at a stage of a probe's hit.
    """

    name: str
    parent: str | None
    fork: int
    log: EventLog = field(default_factory=EventLog)
    kept: KeptStates = field(default_factory=KeptStates)
    marks: dict[str, int] = field(default_factory=dict)
    end: int = 0
    end_time: int = 0
    stop: Stop | None = None

    def check(self, position: int, end: int, shortened: bool) -> None:
        """Raise MachineError if there is no going to `position`; the history reaches to `end`.

        `shortened` says whether its oldest part was dropped.
        """
        start = self.kept.first.position
        if position < start:
            why = "; what came before was dropped, as it took too much memory (--history-memory)" * shortened
            raise MachineError(f"the history begins at position {start}: {position} is before that{why}")
        if position > end:
            raise MachineError(f"the history ends at position {end}: run the guest on to get to {position}")
        inside = self.log.call_around(position)
        if inside is not None:
            first, last = inside
            raise MachineError(
                f"position {position} is within a call of a guest function made from outside, which is at {first} and "
                f"ends at {last}: go to one of these"
            )


class Branches:
    """The branches of one machine's timeline. `current` is the one that it is in."""

    def __init__(self, machine: Machine, memory: int) -> None:
        self._machine = machine
        self.memory = memory
        self.current = History(FIRST, None, 0)
        self._left: dict[str, History] = {}  # the others, those left first at the beginning
        self._left_size = 0  # bytes of events that only those have
        self._gone: dict[str, str] = {}  # why those that were thrown away were
        self._names = itertools.count(1)

    def begin(self, position: int) -> None:
        """Begin the history anew with the present state at `position`. All branches are dropped."""
        old = list(self.all())
        self.current = History(FIRST, None, position)
        self.current.kept.add(Kept(position, 0, True, None))
        self._left, self._left_size, self._gone, self._names = {}, 0, {}, itertools.count(1)
        self._release(itertools.chain.from_iterable(history.kept for history in old))

    def fork(self, position: int, count: int) -> None:
        """Begin a branch at `position`, with the first `count` events, and make it the current one."""
        left = self.current
        taken = {history.name for history in self.all()}
        name = next(name for number in self._names if (name := f"branch-{number}") not in taken)
        marks = {mark: at for mark, at in left.marks.items() if at <= position}
        kept = left.kept.up_to(position, count)
        self.current = History(name, left.name, position, left.log.up_to(count), kept, marks)
        self._leave(left)
        if len(self._left) > MOST_BRANCHES:
            self._throw_away(next(iter(self._left)), f"no more than {MOST_BRANCHES} branches are kept")

    def adopt(self, current: History, left: Iterable[History]) -> None:
        """Have the branches of a file instead of the present ones. `left` are others, those left last first.

        Those that do not fit into memory are thrown away.
        """
        old, self.current, self._left = list(self.all()), current, {}
        for history in left:
            self._leave(history)
            if self.full:
                self._throw_away(history.name, self._too_large())
        self._left = dict(reversed(self._left.items()))
        self._release(itertools.chain.from_iterable(history.kept for history in old))
        self._fit()

    def switch(self, history: History) -> None:
        """Make `history` the current one."""
        left, self.current = self.current, history
        del self._left[history.name]
        self._leave(left)

    def _leave(self, history: History) -> None:
        self._left[history.name] = history
        self._left_size = sum(map(self._own_size, self._left.values()))

    def _own_size(self, history: History) -> int:
        """The bytes that the events of a branch take apart from those that the current one has too."""
        events = history.log.events
        return sum(map(size_of, events[history.log.common(self.current.log) :])) + _LISTED * len(events)

    def named(self, name: str) -> History:
        """The branch of that name. Raises MachineError if there is none, and says why if it was thrown away."""
        for history in self.all():
            if history.name == name:
                return history
        if name in self._gone:
            raise MachineError(f"{name} was thrown away: {self._gone[name]}")
        there = ", ".join(history.name for history in self.all())
        raise MachineError(f"there is no branch {name!r}: there are {there}")

    def rename(self, name: str) -> None:
        """Give the current branch another name. Raises MachineError if another branch has it."""
        if any(history.name == name for history in self._left.values()):
            raise MachineError(f"another branch is called {name}: give a name that is not taken")
        old, self.current.name = self.current.name, name
        for history in self._left.values():
            if history.parent == old:
                history.parent = name

    def drop(self, name: str) -> None:
        """Throw a branch away. Raises MachineError for the current one, and if there is none of that name."""
        if self.named(name) is self.current:
            raise MachineError(f"the guest is in {name}: go to another branch to drop this one")
        self._throw_away(name, "it was deleted")

    def list(self, end: int) -> list[Branch]:
        """All branches, in the order in which they fork. `end` is that of the current one."""
        rows = [
            Branch(each.name, each.parent, each.fork, end if current else each.end, current)
            for each in self.all()
            for current in [each is self.current]
        ]
        return sorted(rows, key=lambda row: (row.fork, row.parent is not None, row.name))

    def marked(self, mark: str) -> tuple[str, int] | None:
        """The branch and the position that a mark is at. The current branch is looked at first."""
        return next(((each.name, each.marks[mark]) for each in self.all() if mark in each.marks), None)

    # Memory

    @property
    def full(self) -> bool:
        """Whether the events take more memory than they may."""
        return self.current.log.size + self._left_size > self.memory // 4

    def keep(self, kept: Kept) -> None:
        """Keep a state with its checkpoint, and have all checkpoints take no more memory than there is for them."""
        self.current.kept.add(kept)
        self._fit()

    def _fit(self) -> None:
        checkpoints = self._machine.checkpoints
        checkpoints.bound = self.memory - self.current.log.size - self._left_size
        common = {id(each.checkpoint) for each in self.current.kept}
        for history in self._left.values():
            if checkpoints.size <= checkpoints.bound:
                break
            self._release(history.kept.forget(lambda each: id(each.checkpoint) not in common))
        gone = set(checkpoints.thin(self.current.kept.checkpoints))
        for history in self.all():
            history.kept.forget(lambda each: each.checkpoint in gone)

    def replace(self, old: Kept, new: Kept) -> None:
        """Keep `new` instead of `old`, which is at the same position of the current branch."""
        self.current.kept.replace(old, new)
        self._release([old])

    def make_room(self) -> None:
        """Throw branches away, those left first before the others, until events take what they may, or one is left."""
        while self._left and self.full:
            self._throw_away(next(iter(self._left)), self._too_large())

    def shorten(self) -> None:
        """Drop the oldest part of the history, so that its events take half of what they may, or less."""
        log = self.current.log
        excess, least = log.size - self.memory // 8, 0
        while excess > 0 and least < len(log.events):
            excess -= size_of(log.events[least])
            least += 1
        begin = next(kept for kept in self.current.kept if kept.events >= least)
        for history in list(self._left.values()):
            if all(each.checkpoint is not begin.checkpoint for each in history.kept):
                self._throw_away(history.name, self._too_large())
        for history in self.all():
            count, dropped = history.kept.begin_with(begin.checkpoint)
            history.log.forget(count)
            self._release(dropped)
        self._left_size = sum(map(self._own_size, self._left.values()))

    def _too_large(self) -> str:
        return f"the history takes more than its {self.memory >> 20} MiB of memory (--history-memory)"

    def _throw_away(self, name: str, why: str) -> None:
        history = self._left.pop(name)
        self._gone[name] = why
        while len(self._gone) > _SHOWN:
            del self._gone[next(iter(self._gone))]
        self._left_size = sum(map(self._own_size, self._left.values()))
        self._release(history.kept)

    def _release(self, states: Iterable[Kept]) -> None:
        """Drop the checkpoints of `states` that no branch has, the newest first: it hands its pages on to the next."""
        used = {each.checkpoint for history in self.all() for each in history.kept}
        for kept in sorted(states, key=lambda each: each.position, reverse=True):
            if kept.checkpoint is not None and kept.checkpoint not in used and not kept.checkpoint.dropped:
                self._machine.checkpoints.drop(kept.checkpoint)

    def all(self) -> Iterator[History]:
        """The current branch, then the others, those left first at the beginning."""
        yield self.current
        yield from self._left.values()
