# SPDX-License-Identifier: GPL-2.0-or-later
"""Places in the history of the guest."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .guest import StackFrame
from .location import Hex, Location


@lazy_dataclass
class When:
    """Where the guest is in its history. `position` is its count of instructions, `seconds` the guest time.

    start, end: the positions between which the history reaches. live: whether it is at its end and grows.
    branch: the branch of the history that it is in; None if there is only one.
    """

    position: int
    seconds: float
    location: Location
    start: int
    end: int
    live: bool
    branch: str | None


@lazy_dataclass
class BranchRow:
    """A branch of the history, which was begun at the position `fork` of its `parent` and reaches to `end`.

    parent: None for the first one. current: whether the guest is in it.
    """

    name: str
    parent: str | None
    fork: int
    end: int
    current: bool


class BranchRows(tuple[BranchRow, ...]):
    """The branches of the history, in the order in which they fork."""


@lazy_dataclass
class MarkRow:
    """A position with a name."""

    name: str
    position: int


class MarkRows(tuple[MarkRow, ...]):
    """The marks, in order of position."""


@lazy_dataclass
class RegisterChanged:
    """A register with its values at both positions."""

    name: str
    before: Hex
    after: Hex


@lazy_dataclass
class SymbolChanged:
    """The data of a symbol that differ in `changed` of `size` bytes. type: None if it is not known.

    before, after: its values as numbers if it has at most 8 bytes, else None; before_text and after_text are the same
    as its type says.
    """

    name: str
    address: Hex
    size: int
    type: str | None
    changed: int
    before: Hex | None
    after: Hex | None
    before_text: str
    after_text: str


@lazy_dataclass
class Difference:
    """What differs between the positions `first` and `second`.

    page_count, bytes_changed: the pages of 4 KiB that differ, and the bytes in them. pages: the physical addresses of
    the first 1,000 of them. symbols: the first 1,000 of the `symbol_count` symbols whose data differ.
    """

    first: int
    second: int
    registers: tuple[RegisterChanged, ...]
    page_count: int
    bytes_changed: int
    pages: tuple[Hex, ...]
    symbols: tuple[SymbolChanged, ...]
    symbol_count: int


@lazy_dataclass
class LastWrite:
    """The last write to a piece of memory, before the instruction at `position`, which is at `location`, is executed.

    address, size, value: what it wrote there. location: None for a write from outside, such as a debugger's.
    frames: the stack there, the innermost frame first. end: why more frames are not known; empty if there are no more.
    """

    position: int
    location: Location | None
    address: Hex
    size: int
    value: Hex
    frames: tuple[StackFrame, ...]
    end: str


@lazy_dataclass
class LastChange:
    """The last change of a register from `before` to `value`, by the instruction at `location`, at `position`.

    location, frames and end are those of LastWrite.
    """

    position: int
    location: Location | None
    register: str
    before: Hex
    value: Hex
    frames: tuple[StackFrame, ...]
    end: str


@lazy_dataclass
class NeverChanged:
    """This register has had its value since `start`, where the history begins."""

    register: str
    start: int


@lazy_dataclass
class PastArgument:
    """An argument of a call. name: x0 to x7 where the function's type is not known.

    text: the value as its type says.
    """

    name: str
    value: Hex
    text: str


@lazy_dataclass
class PastCallRow:
    """A call of a function. position and seconds: when it began. caller: where it returns to.

    comm, pid: the task; None if it is not known. result: what it returned, None if it had not returned at the end of
    the history, and result_text the same as its type says. returned: the position of the return.
    """

    position: int
    seconds: float
    comm: str | None
    pid: int | None
    arguments: tuple[PastArgument, ...]
    caller: Location
    result: Hex | None
    result_text: str
    returned: int | None


@lazy_dataclass
class PastCalls:
    """The calls of a function in the history, which reaches from `start` to `end`, in order of position.

    found: how many there are; rows has the last of them. failed: how many the condition could not be evaluated at, and
    why: the reason at the first of them.
    """

    function: str
    start: int
    end: int
    found: int
    rows: tuple[PastCallRow, ...]
    failed: int
    why: str


@lazy_dataclass
class NeverWritten:
    """Nothing has written to this piece of memory since `start`, where the history begins."""

    address: Hex
    size: int
    start: int
