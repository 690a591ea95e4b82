# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of a machine that its timeline goes on from: checkpoints, and the state in which the history begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .history import Event

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


@dataclass(eq=False)
class Kept:
    """A checkpoint with the number of events before it. It is None for the state in which history begins."""

    position: int
    events: int
    interrupts: bool
    checkpoint: Checkpoint | None


class KeptStates:
    """The states in order of position. There is one at least, `first`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._states: list[Kept] = []

    @property
    def first(self) -> Kept:
        """The state in which the history begins."""
        return self._states[0]

    @property
    def last(self) -> Kept:
        """The newest."""
        return self._states[-1]

    def begin(self, position: int) -> None:
        """Drop all, and begin with the present state at `position`, without a checkpoint."""
        self._drop(self._states)
        self._states.append(Kept(position, 0, True, None))

    def take(self, kept: Kept, bound: int) -> None:
        """Keep a state with its checkpoint, and have all checkpoints take no more than `bound` bytes."""
        checkpoints = self._machine.checkpoints
        self._states.insert(bisect_right(self._states, kept.position, key=lambda each: each.position), kept)
        by_checkpoint = {each.checkpoint: each for each in self._states if each.checkpoint is not None}
        checkpoints.bound = bound
        for dropped in checkpoints.thin(list(by_checkpoint)):
            self._states.remove(by_checkpoint[dropped])

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

    def drop_after(self, position: int, events: int) -> None:
        """Drop those after `position`, or with more events before them."""
        self._drop([kept for kept in self._states if kept.position > position or kept.events > events])

    def begin_with(self, least: int) -> int:
        """Make the first that has `least` events before it the first of all. Returns how many it has, now forgotten."""
        begin = next(kept for kept in self._states if kept.events >= least)
        self._drop(self._states[: self._states.index(begin)])
        count = begin.events
        for kept in self._states:
            kept.events -= count
        return count

    def replace(self, old: Kept, new: Kept) -> None:
        """Keep `new` instead of `old`, which is at the same position."""
        self._states[self._states.index(old)] = new
        if old.checkpoint is not None:
            self._machine.checkpoints.drop(old.checkpoint)

    def _drop(self, states: list[Kept]) -> None:
        gone = set(states)
        for kept in reversed(states):  # the newest first: a dropped one hands its pages on to the next that is left
            if kept.checkpoint is not None:
                self._machine.checkpoints.drop(kept.checkpoint)
        self._states = [kept for kept in self._states if kept not in gone]
