# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of a machine that its timeline goes on from: checkpoints, and the state in which the history begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .checkpoint import Checkpoint
from .history import Event


@dataclass(eq=False)
class Kept:
    """A checkpoint with the number of events before it. It is None for the state in which history begins."""

    position: int
    events: int
    interrupts: bool
    checkpoint: Checkpoint | None


class KeptStates:
    """The states of one branch in order of position. There is one at least, `first`."""

    def __init__(self, states: Sequence[Kept] = ()) -> None:
        self._states = list(states)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def first(self) -> Kept:
        """The state in which the history begins."""
        return self._states[0]

    @property
    def last(self) -> Kept:
        """The newest."""
        return self._states[-1]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints of the states, in order."""
        return [each.checkpoint for each in self._states if each.checkpoint is not None]

    def add(self, kept: Kept) -> None:
        """Add a state."""
        self._states.insert(bisect_right(self._states, kept.position, key=lambda each: each.position), kept)

    def at(self, position: int) -> Kept | None:
        """The state at exactly this position."""
        return next((kept for kept in self._states if kept.position == position), None)

    def before(self, position: int) -> list[Kept]:
        """Those before `position`, newest first."""
        return [kept for kept in reversed(self._states) if kept.position < position]

    def base_of(self, position: int, events: Sequence[Event]) -> Kept:
        """The state to go to `position` from: the newest before all of `events` that came at the position itself."""
        return next(
            kept
            for kept in reversed(self._states)
            if kept.position < position
            or kept is self.first
            or (kept.position == position and (not kept.events or events[kept.events - 1].position < position))
        )

    def up_to(self, position: int, events: int) -> KeptStates:
        """Those of a branch that is begun at `position`, when that many events have entered."""
        return KeptStates(
            [replace(each) for each in self._states if each.position <= position and each.events <= events]
        )

    def begin_with(self, checkpoint: Checkpoint | None) -> tuple[int, list[Kept]]:
        """Make the state with this checkpoint the first of all.

        Returns how many events it has, which are now forgotten, and the states before it.
        """
        index = next(index for index, kept in enumerate(self._states) if kept.checkpoint is checkpoint)
        dropped, self._states = self._states[:index], self._states[index:]
        count = self.first.events
        for kept in self._states:
            kept.events -= count
        return count, dropped

    def replace(self, old: Kept, new: Kept) -> None:
        """Keep `new` instead of `old`, which is at the same position."""
        self._states[self._states.index(old)] = new

    def forget(self, unwanted: Callable[[Kept], bool]) -> list[Kept]:
        """Forget the states that are `unwanted`, but not the first. Returns them."""
        gone = [each for each in self._states[1:] if unwanted(each)]
        self._states = [each for each in self._states if each not in gone]
        return gone
