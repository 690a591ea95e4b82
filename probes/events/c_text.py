# SPDX-License-Identifier: GPL-2.0-or-later
"""Text as the kernel's C sees it: one character a byte, with the kernel's own character classes."""

from __future__ import annotations

from .numbers import SPACES, is_alpha, is_digit

MAX_FILTER_STR_VAL = 256
"""include/linux/trace_events.h"""


def raw(text: str) -> str:
    """The bytes of `text` in UTF-8, one character a byte (Latin-1): the kernel counts in bytes."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def c_text(text: str) -> str:
    """The same, up to the first NUL."""
    return raw(text).partition("\0")[0]


def user_text(text: str) -> str:
    """The text that `raw` or `c_text` was given."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def is_space(char: str) -> bool:
    """isspace() of lib/ctype.c, which has Latin-1's no-break space among them."""
    return char != "" and char in SPACES


def is_alnum(char: str) -> bool:
    """isalnum() of lib/ctype.c."""
    return is_alpha(char) or is_digit(char)


def strip(text: str) -> str:
    """`text` without the spaces at both ends: what strstrip() of lib/string_helpers.c gives."""
    return text.strip(SPACES)


def strip_right(text: str) -> str:
    """`text` without the spaces at its end: what strstrip() leaves in the buffer that it was given."""
    return text.rstrip(SPACES)
