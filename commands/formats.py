# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats of gdb's `x` and `print` (GDB manual, "Output Formats" and "Memory")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import CommandError
from .locations import location
from .render.layout import named_address

if TYPE_CHECKING:
    from armprobe.session import Session

LETTERS: Final = "xduotzcasi"
SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_FORMAT: Final = re.compile(rf"/(?P<count>\d{{0,6}})(?P<letters>[{LETTERS}bhwg]*)")
_ESCAPES: Final = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r", 27: r"\033"}


class Format(NamedTuple):
    """A format: how many, the letter of how each is shown, and its bytes. The last two are None if not given."""

    times: int
    letter: str | None
    size: int | None


def split_format(text: str) -> tuple[Format | None, str]:
    """The format that a text may begin with, and the rest of the text. Raises CommandError."""
    if not text.startswith("/"):
        return None, text
    word, _, rest = text.partition(" ")
    match = _FORMAT.fullmatch(word)
    letters = "" if match is None else match["letters"]
    kinds = [letter for letter in letters if letter in LETTERS]
    sizes = [letter for letter in letters if letter in SIZES]
    if match is None or len(kinds) > 1 or len(sizes) > 1:
        raise CommandError(
            f"{word!r} is no format: write /, a count, one of {' '.join(LETTERS)}, and a size, b, h, w or g, as in /4gx"
        )
    return Format(int(match["count"] or 1), next(iter(kinds), None), SIZES[sizes[0]] if sizes else None), rest.strip()


def number(session: Session, value: int, letter: str, size: int, padded: bool = False, unsigned: bool = False) -> str:
    """The number in the lowest `size` bytes of `value`, of an `unsigned` type or a signed one.

    `padded`: with its leading zeros where `x` of gdb has them.
    """
    bits = 8 * size
    value &= (1 << bits) - 1
    signed = value - (1 << bits) if value >> bits - 1 else value
    match letter:
        case "d":
            return str(signed)
        case "u":
            return str(value)
        case "o":
            digits = f"{value:o}"
            return f"0{digits.zfill(-(-bits // 3))}" if padded else f"0{digits}" if value else "0"
        case "t":
            return f"{value:0{bits}b}" if padded else f"{value:b}"
        case "z":
            return f"0x{value:0{2 * size}x}"
        case "c":
            low = value & 0xFF
            return f"{low - 256 if low > 127 and not unsigned else low} {quoted(bytes([low]), chr(39))}"
        case "a":
            return named_address(location(session, value if unsigned else signed & (1 << 64) - 1))
    return f"0x{value:0{2 * size}x}" if padded else f"{value:#x}"


def quoted(data: bytes, quote: str = '"') -> str:
    """Characters as gdb shows them."""
    shown = []
    for byte in data:
        if chr(byte) in (quote, "\\"):
            shown.append(f"\\{chr(byte)}")
        else:
            shown.append(_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"))
    return quote + "".join(shown) + quote
