# SPDX-License-Identifier: GPL-2.0-or-later
"""Places in the history of the guest."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Hex, Location


@dataclass(frozen=True)
class When:
    """Where the guest is in its history. `position` is its count of instructions, `seconds` the guest time.

    start, end: the positions between which the history reaches. live: whether it is at its end and grows.
    """

    position: int
    seconds: float
    location: Location
    start: int
    end: int
    live: bool


@dataclass(frozen=True)
class MarkRow:
    """A position with a name."""

    name: str
    position: int


class MarkRows(tuple[MarkRow, ...]):
    """The marks, in order of position."""


@dataclass(frozen=True)
class LastWrite:
    """The last write to a piece of memory, before the instruction at `position`, which is at `location`, is executed.

    address, size, value: what it wrote there. location: None for a write from outside, such as a debugger's.
    """

    position: int
    location: Location | None
    address: Hex
    size: int
    value: Hex


@dataclass(frozen=True)
class NeverWritten:
    """Nothing has written to this piece of memory since `start`, where the history begins."""

    address: Hex
    size: int
    start: int
