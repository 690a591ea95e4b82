# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions: a line of kprobe_events as the kernel understands it (__trace_kprobe_create in trace_kprobe.c)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from .c_text import user_text
from .errors import EventError
from .fetch import MOST_ARGUMENTS, Arguments, FetchArgument, Place, Refused
from .numbers import SPACES, BadNumber, is_digit, is_name, symbol_and_offset, unsigned
from .parameters import Parameters, expanded

GROUP: Final = "kprobes"
"""The group of events for which none is given."""
_BUFFER: Final = 4096  # WRITE_BUFSIZE
_LONGEST_NAME: Final = 64  # MAX_EVENT_NAME_LEN, with the NUL
_MOST_ACTIVE: Final = 4096  # KRETPROBE_MAXACTIVE_MAX
_OFFSETS: Final = 1 << 32
_ALL_ARGUMENTS: Final = "$arg*"
_NO_ADDRESS: Final = "Invalid probed address or symbol"
_LONG_LINE: Final = f"a line is too long: at most {_BUFFER - 2} bytes are allowed"


class Functions(Protocol):
    """What a definition asks about the guest's symbols."""

    def entry(self, symbol: str, offset: int) -> int:
        """0 if the place is a function's entry, EINVAL if it is not, ENOENT if there is none."""

    def count(self, symbol: str) -> int:
        """The number of symbols with that name."""

    def parameters(self, symbol: str, offset: int) -> Parameters:
        """The parameters of the function that has its entry there; none if they are not known."""


@dataclass
class Definition:
    """One probe of an event.

    Its place is `symbol` and `offset`, or without a symbol the `address`. `maxactive` is 0 if it is not given, and may
    be negative, as in the kernel. `words` are those of the line.
    """

    words: list[str]
    is_return: bool
    group: str
    event: str
    symbol: str | None
    offset: int
    address: int
    maxactive: int
    arguments: list[FetchArgument] = field(default_factory=list)
    size: int = 0

    @property
    def place(self) -> str:
        """The place as the listing has it."""
        if self.symbol is None:
            return f"{self.address:#x}"
        return f"{self.symbol}+{self.offset}" if self.offset else self.symbol

    def refused(self, index: int, message: str, offset: int = 0, number: int = errno.EINVAL) -> EventError:
        """The error for the word `index`. The kernel's column for a word that is not there is behind the last."""
        return refused(self.words, index, message, offset, number)


def refused(words: Sequence[str], index: int, message: str, offset: int = 0, number: int = errno.EINVAL) -> EventError:
    """The error that the kernel logs about the word `index` (__trace_probe_log_err)."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    column = starts[index] + offset if index < len(words) else starts[-1]
    return EventError.logged(number, message, user_text(" ".join(words)), column)


def lines(text: str) -> Iterator[str]:
    """The lines of what is written to the file, without comments (trace_parse_run_command).

    Raises EventError at a line that is too long, or that has a NUL in it.
    """
    done = 0
    while done < len(text):
        buffer = text[done : done + _BUFFER - 1]
        at = 0
        while True:
            line, nul, _ = buffer[at:].partition("\0")
            line, newline, _ = line.partition("\n")
            if newline:
                size = len(line) + 1
            else:
                size = len(line)
                if done + size < len(text):
                    if at:
                        break
                    reason = "a line has a NUL in it: nothing can follow that" if nul else _LONG_LINE
                    raise EventError(errno.EINVAL, reason)
            done += size
            at += size
            yield line.partition("#")[0]
            if done >= len(text):
                break


def split(line: str) -> list[str]:
    """The words of a line (argv_split)."""
    for space in SPACES:
        line = line.replace(space, " ")
    return [word for word in line.split(" ") if word]


def parse(line: str, functions: Functions) -> Definition | None:
    """The definition on a line, None if nothing is on it. Raises EventError."""
    words = split(line)
    if not words:
        return None
    if words[0][0] not in "pr":
        reason = f"'{user_text(words[0])}' begins no definition: write p[:[GRP/]EVENT] PLACE, r[...], or -:[GRP/]EVENT"
        raise EventError(errno.EINVAL, reason)
    if len(words) < 2:
        raise EventError(
            errno.EINVAL, f"'{user_text(words[0])}' needs a place: a symbol, such as vfs_read, or an address"
        )
    _, colon, name = words[0][1:].partition(":")
    is_return, maxactive = words[0][0] == "r", 0
    if is_digit(words[0][1:2]):
        maxactive = _maxactive(words, is_return)
    symbol: str | None = None
    offset = address = 0
    at_entry = False
    try:
        address = unsigned(words[1])
    except BadNumber:
        symbol, offset, is_return, at_entry = _place(words, is_return, functions)
    group, event = GROUP, ""
    if colon:
        group, event = _names(words, name)
    if not event:
        event = _generated(is_return, symbol, offset, address)
    parameters: Parameters = ()
    if symbol is not None and at_entry and not is_return:
        parameters = functions.parameters(symbol, offset)
        words = _expanded(words, parameters)
    parsed = Arguments(Place(at_entry, symbol is not None and is_return, parameters))
    for index, word in enumerate(words[2 : 2 + MOST_ARGUMENTS], start=2):
        try:
            parsed.add(word)
        except Refused as why:
            if why.message is None:
                reason = f"'{user_text(word)}' is a text: its type can only be string, and no array"
                raise EventError(why.errno, reason) from None
            raise refused(words, index, why.message, why.offset, why.errno) from None
    arguments, size = parsed.parsed, parsed.size
    return Definition(words, is_return, group, event, symbol, offset, address, maxactive, arguments, size)


def _expanded(words: list[str], parameters: Parameters) -> list[str]:
    """The words, with all parameters in place of `$arg*`."""
    if _ALL_ARGUMENTS not in words or not parameters:
        return words
    names = expanded(parameters)
    return [each for word in words for each in (names if word == _ALL_ARGUMENTS else [word])]


def _maxactive(words: Sequence[str], is_return: bool) -> int:
    if not is_return:
        raise refused(words, 0, "Maxactive is not for kprobe", 1)
    text = words[0][1:].partition(":")[0]
    try:
        value = unsigned(text, bits=32) if len(text) < _LONGEST_NAME else 0
    except BadNumber:
        value = 0
    if not value:
        raise refused(words, 0, "Invalid maxactive number", 1)
    number = (value ^ 1 << 31) - (1 << 31)  # an int
    if number > _MOST_ACTIVE:
        raise refused(words, 0, "Maxactive is too big", 1)
    return number


def _place(words: Sequence[str], is_return: bool, functions: Functions) -> tuple[str, int, bool, bool]:
    """The symbol, the offset, whether it is a return probe, and whether it is at a function's entry."""
    written, percent, suffix = words[1].partition("%")
    if "/" in words[1] and ":" in words[1]:
        raise EventError(
            errno.EINVAL, f"'{user_text(words[1])}' is a place of a uprobe: kprobe_events has none of them"
        )
    if percent:
        if suffix != "return":
            raise refused(words, 1, "Invalid probed address suffix", len(written))
        is_return = True
    try:
        symbol, offset = symbol_and_offset(written)
    except BadNumber:
        raise refused(words, 1, _NO_ADDRESS) from None
    if not 0 <= offset < _OFFSETS:
        raise refused(words, 1, _NO_ADDRESS)
    entry = functions.entry(symbol, offset)
    if entry == errno.EINVAL and is_return:
        raise refused(words, 1, "Retprobe address must be an function entry")
    if ":" not in symbol:
        count = functions.count(symbol)
        if count > 1:
            raise refused(words, 1, "The symbol is not unique", 0, errno.EADDRNOTAVAIL)
        if not count:
            raise refused(words, 1, _NO_ADDRESS, 0, errno.ENOENT)
    return symbol, offset, is_return, entry == 0


def _names(words: Sequence[str], text: str) -> tuple[str, str]:
    """The group and the event, which may be empty (traceprobe_parse_event_name)."""
    at = len(words[0]) - len(text)
    group, separator = GROUP, next((each for each in "/." if each in text), "")
    event = text
    if separator:
        group, _, event = text.partition(separator)
        if not group:
            raise refused(words, 0, "Group name is not specified", at)
        if len(group) >= _LONGEST_NAME:
            raise refused(words, 0, "Group name is too long", at)
        if not is_name(group, dashes=True):
            raise refused(words, 0, "Group name must follow the same rules as C identifiers", at)
        at += len(group) + 1
        if not event:
            return group, ""
    if not event:
        raise refused(words, 0, "Event name is not specified", at)
    if len(event) >= _LONGEST_NAME:
        raise refused(words, 0, "Event name is too long", at)
    if not is_name(event):
        raise refused(words, 0, "Event name must follow the same rules as C identifiers", at)
    return group, event


def _generated(is_return: bool, symbol: str | None, offset: int, address: int) -> str:
    """The name of an event that is not given one."""
    place = f"{address:#x}" if symbol is None else f"{symbol}_{offset}"
    name = f"{'r' if is_return else 'p'}_{place}"[: _LONGEST_NAME - 1]
    return name[:1] + name[1:].replace(":", "_").replace(".", "_")
