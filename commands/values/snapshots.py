# SPDX-License-Identifier: GPL-2.0-or-later
"""States of the whole guest."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Location


@lazy_dataclass
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


@lazy_dataclass
class SnapshotTaken:
    """A snapshot that has just been taken. replaced: whether there was one of that name."""

    snapshot: SnapshotRow
    replaced: bool


@lazy_dataclass
class PutBack:
    """The state that the guest was put back to, in words, and where that is; see `SnapshotRow`."""

    state: str
    instructions: int
    seconds: float
    location: Location


@lazy_dataclass
class Saved:
    """The file with the snapshot.

    disk: the image of the guest's disk, which it needs again; None without a disk. start: the position from which on
    it has the guest's history; None if it has none.
    """

    file: str
    disk: str | None = None
    start: int | None = None


@lazy_dataclass
class VmcoreSaved:
    """The file with the guest's memory and registers as a vmcore. size: its bytes, holes among them."""

    file: str
    size: int


@lazy_dataclass
class Disk:
    """The guest's disk.

    image: the file that it began with; None if the guest has no disk. size: its bytes. written: the bytes of the pages
    that the guest has written to. file: the file to which its content was written, if it was.
    """

    image: str | None
    size: int
    written: int
    file: str | None
