# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of probes that the C core keeps, in the actions at its places."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from armprobe.machine.native.places import Action

from .probe import Counters, Counts


def _of_action(name: str) -> Any:
    """A counter of an action, as an attribute."""

    def put(counts: KprobeCounts | CallCounts, value: int) -> None:
        setattr(counts.action, name, value)

    return property(attrgetter(f"action.{name}"), put)


class KprobeCounts:
    """The counters of a kprobe, kept in C."""

    leaked = 0

    def __init__(self, action: Action) -> None:
        self.action = action

    hits, nmissed, met = map(_of_action, ("hits", "missed", "met"))


class CallCounts:
    """The counters of a kretprobe, kept in C."""

    def __init__(self, action: Action) -> None:
        self.action = action

    hits, nmissed, leaked, met = map(_of_action, ("calls", "refused", "leaked", "met"))


def own_counts(counts: Counters) -> Counts:
    """The same counters, for Python to go on with."""
    own = Counts()
    own.hits, own.met, own.nmissed, own.leaked = counts.hits, counts.met, counts.nmissed, counts.leaked
    return own
