# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes of running the guest."""

from __future__ import annotations

from dataclasses import dataclass

from .guest import Disassembly
from .location import Hex
from .stops import Stopped


@dataclass(frozen=True)
class Stepped:
    """Where a step led. instruction: what is executed next; None if something stopped the step."""

    stop: Stopped
    instruction: Disassembly | None


@dataclass(frozen=True)
class Returned:
    """What a function has returned in x0, and the same as a signed number."""

    value: Hex
    signed: int


@dataclass(frozen=True)
class ConsoleText:
    """A part of what the guest prints while a command runs it."""

    text: str


@dataclass(frozen=True)
class ConsoleOutput:
    """What the guest has printed since it was last asked for."""

    text: str


@dataclass(frozen=True)
class ConsoleAnswer:
    """What the guest has printed after a line was typed at it.

    text: all of it. waits: a debugger is in control, so the guest has not read the line yet.
    stop: what stopped the guest before it had answered; None if nothing.
    """

    text: str
    waits: bool
    stop: Stopped | None


@dataclass(frozen=True)
class LentFiles:
    """Whether a bare-metal guest may use the files of the gdb that is attached."""

    lends: bool


@dataclass(frozen=True)
class Saved:
    """The file that a snapshot was written to."""

    file: str
