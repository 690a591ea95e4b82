# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the guest's source."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .guest import Disassembly
from .location import Location
from .stops import Stopped


@lazy_dataclass
class SourceLine:
    """A line of a source. text: None if the source is not found. current: whether the guest is stopped in it."""

    file: str
    number: int
    text: str | None
    current: bool


class SourceLinesShown(tuple[SourceLine, ...]):
    """Lines of a source, one after another."""


@lazy_dataclass
class LineCode:
    """The instructions of a line: from `start` up to `end`."""

    line: SourceLine
    start: Location
    end: Location


@lazy_dataclass
class LineStepped:
    """The result of a step by lines.

    line: the next one; None if it is not known, or if something else stopped the guest. instruction: the next
    instruction where no line is known.
    """

    stop: Stopped
    line: SourceLine | None
    instruction: Disassembly | None
