# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of running the guest."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.session.guest import Completed as Completed

from .guest import Disassembly
from .location import Hex
from .stops import Stopped


@lazy_dataclass
class Stepped:
    """The result of a step. instruction: the next instruction; None if something stopped the step."""

    stop: Stopped
    instruction: Disassembly | None


@lazy_dataclass
class Returned:
    """The result of a function, x0, as an unsigned and as a signed number."""

    value: Hex
    signed: int


@lazy_dataclass
class Finished:
    """The end of a function. returned: its result; None if something else stopped the guest before."""

    stop: Stopped
    returned: Returned | None


@lazy_dataclass
class ConsoleText:
    """A part of the guest's output while a command runs it."""

    text: str


@lazy_dataclass
class ConsoleOutput:
    """The guest's output since it was last shown."""

    text: str


@lazy_dataclass
class ConsoleAnswer:
    """The guest's output after a line was typed at its console.

    text: the output. waits: whether the guest has not read the line yet, because a debugger is in control.
    ended: whether it waits for the next line: its output ends with a prompt, or nothing else would wake it.
    stop: the stop that ended the run before the answer; None without one.
    """

    text: str
    waits: bool
    ended: bool
    stop: Stopped | None


@lazy_dataclass
class LentFiles:
    """Whether a bare-metal guest may use the files of the gdb that is attached."""

    lends: bool


@lazy_dataclass
class Pushed:
    """A file of this computer, and the path in the guest to which it was copied."""

    file: str
    path: str


@lazy_dataclass
class Pulled:
    """A path in the guest, and the file of this computer to which it was copied. size: in bytes."""

    path: str
    file: str
    size: int
