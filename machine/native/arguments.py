# SPDX-License-Identifier: GPL-2.0-or-later
"""How far from functions' entries their argument registers still have the arguments (arguments.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from .binding import function

ARGUMENTS: Final = 8
"""The registers that pass arguments, x0 to x7 (AAPCS64, 6.8.2)."""
_MOST: Final = 1 << 32  # instructions

_ENDS: Final = function(
    "armprobe_argument_ends",
    None,
    *(ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p),
)


def argument_ends(code: bytes, starts: Sequence[int]) -> Sequence[int]:
    """For each function in `code` the byte offsets from its entry up to which x0 to x7 have the arguments, 8 numbers.

    The functions begin at the byte offsets `starts`, multiples of 4 in ascending order, and extend to the next one.
    """
    size, count = len(code) // 4, len(starts)
    if any(before >= after for before, after in pairwise([*starts, min(size, _MOST) * 4])):
        raise ValueError("the functions are not in order, or not in the code")
    words = (ctypes.c_uint32 * size).from_buffer_copy(code[: size * 4])
    first = (ctypes.c_uint64 * count)(*(start // 4 for start in starts))
    ends = (ctypes.c_uint32 * (ARGUMENTS * count))()
    _ENDS(words, size, first, count, ends)
    return memoryview(ends).cast("B").cast("I")
