# SPDX-License-Identifier: GPL-2.0-or-later
"""Call frame information for debuggers, found in the code of functions that keep frame records (call_frames.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from .binding import function, structure


@structure("frame_row")
class _FrameRow(ctypes.Structure):
    pass


_DEBUG_FRAME: Final = function(
    "armprobe_debug_frame",
    ctypes.c_uint64,
    *(ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64),
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64),
)
_HAS_RECORD: Final = function(
    "armprobe_has_record", ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p
)


def debug_frame(functions: Iterable[tuple[int, int]], code: bytes, address: int) -> bytes:
    """The contents of a .debug_frame section for `code`, which is at virtual `address`, a multiple of 4.

    `functions` are the addresses where each begins and ends. Raises ValueError if one begins before `address`, or ends
    before it begins.
    """
    spans = list(functions)
    if any(not address <= start <= end for start, end in spans):
        raise ValueError("a function that begins before the code, or ends before it begins")
    words = _words(code)
    longest = max((end - start for start, end in spans), default=0) // 4 + 1
    arguments = (
        *(words, len(words), address),
        *((ctypes.c_uint64 * (2 * len(spans)))(*chain.from_iterable(spans)), len(spans)),
        _rows(min(longest, len(words))),
    )
    made = (ctypes.c_uint8 * _DEBUG_FRAME(*arguments, None, 0))()
    _DEBUG_FRAME(*arguments, made, len(made))
    return bytes(made)


def has_record(code: bytes, offset: int) -> bool | None:
    """Whether the function with instructions `code` has its frame record, at x29, when it is at byte `offset`.

    If not, x29 is the caller's and x30 is the function's return address. None for a function that keeps no frame
    record.
    """
    words = _words(code)
    found = _HAS_RECORD(words, len(words), offset // 4, _rows(len(words)))
    return None if found < 0 else bool(found)


def _words(code: bytes) -> Any:
    size = len(code) // 4
    return (ctypes.c_uint32 * size).from_buffer_copy(code[: size * 4])


def _rows(instructions: int) -> Any:
    """Room for what is found in a function."""
    return (_FrameRow * (instructions + 1))()
