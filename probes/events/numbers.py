# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers and characters as the kernel reads them (lib/kstrtox.c, lib/vsprintf.c, lib/ctype.c).

Texts are bytes of the user's, decoded as Latin-1: the kernel knows no other characters.
"""

from __future__ import annotations

import errno
from typing import Final

_DIGITS: Final = "0123456789abcdef"
_U64: Final = 1 << 64
SPACES: Final = "\t\n\v\f\r \xa0"
"""What isspace() takes for a space."""


class BadNumber(Exception):
    """A text is no number (EINVAL), or one that is too large (ERANGE): `errno` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def _digits(text: str, base: int) -> tuple[int, int, int]:
    """The base, the number of characters of its prefix, and the number of digits behind that."""
    start = 0
    if base == 0:
        is_hex = text[:2].lower() == "0x" and text[2:3].lower() in [*_DIGITS]
        base = 16 if is_hex else 8 if text[:1] == "0" else 10
        start = 2 if is_hex else 0
    end = start
    while end < len(text) and text[end].lower() in [*_DIGITS[:base]]:
        end += 1
    return base, start, end


def _unsigned(text: str, base: int) -> int:
    """_kstrtoull()."""
    base, start, end = _digits(text, base)
    value = int(text[start:end], base) if end > start else 0
    if value >= _U64:
        raise BadNumber(errno.ERANGE)
    if end == start or text[end:] not in ("", "\n"):
        raise BadNumber(errno.EINVAL)
    return value


def unsigned(text: str, bits: int = 64, base: int = 0) -> int:
    """kstrtoul(), kstrtouint(): the whole of `text` as a number. Raises BadNumber."""
    value = _unsigned(text.removeprefix("+"), base)
    if value >> bits:
        raise BadNumber(errno.ERANGE)
    return value


def signed(text: str) -> int:
    """kstrtol(): the whole of `text` as a number. Raises BadNumber."""
    negative = text.startswith("-")
    value = _unsigned(text[1:], 0) if negative else unsigned(text)
    if value >= (1 << 63) + negative:
        raise BadNumber(errno.ERANGE)
    return -value if negative else value


def symbol_and_offset(text: str) -> tuple[str, int]:
    """traceprobe_split_symbol_offset(): a symbol, and the number behind it that begins with its sign, or 0.

    Raises BadNumber.
    """
    at = min((place for sign in "+-" if (place := text.find(sign)) >= 0), default=len(text))
    return text[:at], signed(text[at:]) if at < len(text) else 0


def leading(text: str) -> tuple[int, str]:
    """simple_strtoul(): the number that `text` begins with, 0 for none, and what follows."""
    base, start, end = _digits(text, 0)
    if end == start:
        return 0, text
    return int(text[start:end], base) % _U64, text[end:]


def is_digit(character: str) -> bool:
    """isdigit()."""
    return character in [*"0123456789"]


def is_name(text: str, dashes: bool = False) -> bool:
    """is_good_name(), or with `dashes` is_good_system_name() (kernel/trace/trace.h)."""
    if not text or not (_is_letter(text[0]) or (dashes and text[0] == "-")):
        return False
    return all(_is_letter(each) or is_digit(each) or (dashes and each == "-") for each in text[1:])


def is_alpha(character: str) -> bool:
    """isalpha(), which has the letters of Latin-1."""
    if character.isascii():
        return character.isalpha()
    return ord(character) >= 0xC0 and character not in "\xd7\xf7"


def _is_letter(character: str) -> bool:
    return is_alpha(character) or character == "_"
