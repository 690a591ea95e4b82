# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats of printf in agent expressions (GDB manual, "Bytecode Descriptions" and "Output")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from .strings import string_pieces

LONGEST_STRING: Final = 1000
"""The number of bytes at which a string is cut."""
_LONGEST: Final = 1000  # a width or precision
_CONVERSION: Final = re.compile(rb"%([-+ #0]*)(\d*)(?:(\.)(\d*))?(hh|h|ll|l|j|z|t|)([diouxXcspaAeEfFgG%])|%")
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|.|$)", re.DOTALL)
_ESCAPES: Final = {b"a": 7, b"b": 8, b"e": 27, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b'"': 34}
_BITS: Final = {b"hh": 8, b"h": 16, b"": 32}  # 64 for the others


class FormatError(Exception):
    """A format that cannot be used; the message says why."""


class _Conversion(NamedTuple):
    flags: str
    width: int
    precision: int | None
    bits: int
    letter: str

    def text(self, value: int, string: Callable[[int], bytes]) -> str:
        match self.letter:
            case "s":
                # (null) as gdb's own printf does
                text = string(value).removesuffix(b"\0").decode("utf-8", "replace") if value else "(null)"
                return self._padded(text[: self.precision])
            case "c":
                return self._padded(chr(value & 0xFF))
            case "p":
                return self._padded(f"{value:#x}" if value else "(nil)")
        return self._integer(value & (1 << self.bits) - 1)

    def _integer(self, value: int) -> str:
        """ISO C, 7.21.6.1 "The fprintf function"."""
        prefix = ""
        if self.letter in "di":
            value -= (value >> self.bits - 1) << self.bits
            prefix = "-" if value < 0 else "+" if "+" in self.flags else " " if " " in self.flags else ""
        digits = f"{abs(value):{self.letter.translate({ord('i'): 'd', ord('u'): 'd'})}}"
        if self.precision is not None:
            digits = digits.rjust(self.precision, "0") if value or self.precision else ""
        if "#" in self.flags and self.letter in "xX" and value:
            prefix = f"0{self.letter}"
        elif "#" in self.flags and self.letter == "o" and not digits.startswith("0"):
            digits = f"0{digits}"
        if "0" in self.flags and "-" not in self.flags and self.precision is None:
            digits = digits.rjust(self.width - len(prefix), "0")
        return self._padded(prefix + digits)

    def _padded(self, text: str) -> str:
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)


class Format:
    """A format in C's notation with escapes, terminated by a NUL. Raises FormatError for an unusable one."""

    def __init__(self, text: bytes) -> None:
        if not text.endswith(b"\0") or b"\0" in text[:-1]:
            raise FormatError("the format of a printf must end with its only NUL")
        raw = text[:-1]
        self._pieces: list[str | _Conversion] = []
        at = 0
        for match in _CONVERSION.finditer(raw):
            self._pieces += [_plain(raw[at : match.start()]), _conversion(match)]
            at = match.end()
        self._pieces.append(_plain(raw[at:]))
        self.strings = [piece.letter == "s" for piece in self._pieces if isinstance(piece, _Conversion)]
        """Whether each value that it takes is the address of a string."""

    @property
    def count(self) -> int:
        """The number of values that it takes."""
        return len(self.strings)

    def text(self, values: Sequence[int], read: Callable[[int, int], bytes]) -> str:
        """The text for `values`. `read(address, length)` reads the memory of strings."""
        return self._text(values, lambda address: b"".join(string_pieces(read, address, LONGEST_STRING)))

    def text_of(self, values: Sequence[int], strings: Iterable[bytes]) -> str:
        """The text for `values`, of which those that point to strings, and are not null, point to `strings` in order.

        A string has LONGEST_STRING bytes at most, with its NUL.
        """
        read = iter(strings)
        return self._text(values, lambda _: next(read))

    def _text(self, values: Sequence[int], string: Callable[[int], bytes]) -> str:
        given = iter(values)
        return "".join(piece if isinstance(piece, str) else piece.text(next(given), string) for piece in self._pieces)


def _plain(raw: bytes) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        what = match[1]
        if what and what[:1] in b"01234567":
            return bytes((int(what, 8) & 0xFF,))
        if what not in _ESCAPES:
            raise FormatError(f"a printf has the escape {match[0].decode('ascii', 'replace')!r}, which C does not know")
        return bytes((_ESCAPES[what],))

    return _ESCAPE.sub(character, raw).decode("utf-8", "replace")


def _conversion(match: re.Match[bytes]) -> str | _Conversion:
    flags, width, point, precision, size, letter = match.groups()
    if letter is None:
        raise FormatError("a printf has a '%' that begins no known conversion")
    if letter == b"%":
        return "%"
    if letter in b"aAeEfFgG":
        raise FormatError("floating-point numbers cannot be printed here")
    if int(width or 0) > _LONGEST or int(precision or 0) > _LONGEST:
        raise FormatError(f"a width or precision in a printf is over {_LONGEST}")
    exact = int(precision or 0) if point else None
    return _Conversion(flags.decode(), int(width or 0), exact, _BITS.get(size, 64), letter.decode())
