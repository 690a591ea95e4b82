# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparisons of a filter with a string: equal, begins, ends, contains, glob (kernel/trace/trace_events_filter.c)."""

from __future__ import annotations

from enum import Enum

from armprobe.machine.lazy_dataclass import lazy_dataclass


class Match(Enum):
    """How a pattern is compared (enum regex_type)."""

    FULL = "full"
    FRONT = "front"
    MIDDLE = "middle"
    END = "end"
    GLOB = "glob"


@lazy_dataclass
class Pattern:
    """What a string is compared with: `text` by `match`, the result inverted if `inverted`."""

    text: bytes
    match: Match = Match.FULL
    inverted: bool = False

    @classmethod
    def glob(cls, text: bytes) -> Pattern:
        """The pattern of the operator `~` (filter_parse_regex()).

        One that begins with a digit is compared as a whole, with its stars as they are.
        """
        inverted = text.startswith(b"!")
        text = text[1:] if inverted else text
        if text[:1].isdigit():
            return cls(text, Match.FULL, inverted)
        match = Match.FULL
        for index, char in enumerate(text):
            if char == ord("*"):
                if index == 0:
                    match = Match.END
                elif index == len(text) - 1:
                    match = Match.MIDDLE if match is Match.END else Match.FRONT
                    text = text[:-1]
                    break
                else:
                    return cls(text, Match.GLOB, inverted)
            elif char in b"[?\\":
                return cls(text, Match.GLOB, inverted)
        return cls(text.removeprefix(b"*"), match, inverted)

    def matches(self, buffer: bytes) -> bool:
        """Whether a string passes. `buffer` is where it is stored, with its NUL; it may be empty (a fault)."""
        return self._compare(buffer) ^ self.inverted

    def _compare(self, buffer: bytes) -> bool:
        size, text = len(buffer), self.text
        string = buffer.partition(b"\0")[0]
        if self.match is Match.FULL:
            return (not size or size >= len(text)) and string == text
        if self.match is Match.FRONT:
            return (not size or size >= len(text)) and string.startswith(text)
        if self.match is Match.MIDDLE:  # strnstr() reads over NULs
            return text in buffer
        if self.match is Match.END:  # of the buffer, not of the string
            end = size - 1
            return end >= len(text) and buffer[end - len(text) : end] == text
        return glob_match(text, string)


def glob_match(pattern: bytes, string: bytes) -> bool:
    """Whether `string` is what `pattern` with `?`, `*`, `[a-z]`, `[!a]` and `\\` says (lib/glob.c).

    An opening bracket without its end stands for itself.
    """
    pattern, string = pattern + b"\0", string + b"\0"
    at, back = 0, (-1, 0)
    position = 0
    while True:
        char = string[position] if position < len(string) else 0  # `[!a]` takes the NUL too
        token = pattern[at]
        position, at = position + 1, at + 1
        if token == ord("?"):
            if not char:
                return False
            continue
        if token == ord("*"):
            if not pattern[at]:
                return True
            position -= 1
            back = (at, position)
            continue
        passes: bool | None = None
        if token == ord("["):
            span = _character_class(pattern, at, char)
            if span is not None:
                passes, end = span
                if passes:
                    at = end
                    continue
        elif token == ord("\\"):
            token = pattern[at]
            at += 1
        if passes is None and char == token:
            if not token:
                return True
            continue
        if not char or back[0] < 0:
            return False
        at, position = back[0], back[1] + 1
        back = (at, position)


def _character_class(pattern: bytes, at: int, char: int) -> tuple[bool, int] | None:
    """Whether `char` is in the class whose text begins at `at`, and where it ends. None: it has no end."""
    inverted = pattern[at] == ord("!")
    at += inverted
    match = False
    first = pattern[at]
    at += 1
    while True:
        last = first
        if not first:
            return None
        if pattern[at] == ord("-") and pattern[at + 1] != ord("]"):
            last = pattern[at + 1]
            if not last:
                return None
            at += 2
        match |= first <= char <= last
        first = pattern[at]
        at += 1
        if first == ord("]"):
            return match != inverted, at
