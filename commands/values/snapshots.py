# SPDX-License-Identifier: GPL-2.0-or-later
"""States of the whole guest."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Location


@dataclass(frozen=True)
class SnapshotRow:
    """A snapshot in memory. It was taken after `instructions` of the guest's own and `seconds` of guest time.

    location: the PC.
    """

    name: str
    instructions: int
    seconds: float
    location: Location


class SnapshotRows(tuple[SnapshotRow, ...]):
    """The snapshots in memory, in the order in which they were taken."""


@dataclass(frozen=True)
class SnapshotTaken:
    """A snapshot that has just been taken. replaced: whether there was one of that name."""

    snapshot: SnapshotRow
    replaced: bool


@dataclass(frozen=True)
class PutBack:
    """The state that the guest was put back to, in words, and where that is; see `SnapshotRow`."""

    state: str
    instructions: int
    seconds: float
    location: Location


@dataclass(frozen=True)
class Saved:
    """The file with the snapshot."""

    file: str
