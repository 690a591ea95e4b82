# SPDX-License-Identifier: GPL-2.0-or-later
"""Changed pages of a memory, in the C core (pages.c)."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from typing import Final, TypeAlias

from .binding import function

PAGE: Final = 4096  # bytes
Pages: TypeAlias = "ctypes.Array[ctypes.c_uint32]"
"""Numbers of pages in a memory, in ascending order."""

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_uint32
_WRITTEN: Final = function("armprobe_pages_written", ctypes.c_int64, ctypes.c_int, _POINTER, _COUNT, _POINTER)
_DIFFERING: Final = function(
    "armprobe_pages_differing", _COUNT, _POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER
)
_STORE: Final = function(
    "armprobe_pages_store", ctypes.c_int64, ctypes.c_int, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER
)
_COPY: Final = function("armprobe_pages_copy", None, _POINTER, _POINTER, _POINTER, _COUNT)
_DISCARD: Final = function("armprobe_pages_discard", ctypes.c_bool, _POINTER, _POINTER, _COUNT)
_MAP: Final = function("armprobe_pages_map", ctypes.c_bool, _POINTER, ctypes.c_uint64, ctypes.c_int)
_FORGET: Final = function("armprobe_pages_forget", None, _POINTER, ctypes.c_uint64, _POINTER, _COUNT)


def address_of(memory: memoryview | mmap.mmap) -> int:
    """The address of writable memory in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def pages_of(numbers: list[int]) -> Pages:
    """`numbers`, which must be in ascending order, for the functions below."""
    return (ctypes.c_uint32 * len(numbers))(*numbers)


def written(pagemap: int, memory: int, count: int) -> Pages:
    """Those of `count` pages of a private mapping that have been written to. `pagemap` is that open file of Linux.

    Raises OSError if it cannot be read.
    """
    pages = (ctypes.c_uint32 * count)()
    found = _WRITTEN(pagemap, memory, count, pages)
    if found < 0:
        raise OSError("/proc/self/pagemap cannot be read")
    return _first(pages, found)


def differing(memory: int, base: int, pages: Pages) -> tuple[Pages, Pages]:
    """Those of the pages in which two memories differ, and the others."""
    count = len(pages)
    found, others = (ctypes.c_uint32 * count)(), (ctypes.c_uint32 * count)()
    differ = _DIFFERING(memory, base, pages, count, found, others)
    return _first(found, differ), _first(others, count - differ)


def store(file: int, memory: int, pages: Pages, places: array[int]) -> tuple[list[int], int]:
    """Write pages of a memory to a file, at the first of the free `places` there, which are counted in pages.

    One that is full of zeros takes none. Returns where each is, -1 for such a one, and the number of places taken.
    Raises OSError.
    """
    at, count = (ctypes.c_int32 * len(pages))(), len(pages)
    taken = _STORE(file, memory, pages, count, places.buffer_info()[0], at)
    if taken < 0:
        raise OSError("the memory of checkpoints cannot be written")
    return list(at), taken


def _first(pages: Pages, count: int) -> Pages:
    return (ctypes.c_uint32 * count).from_buffer_copy(pages, 0)


def copy(to: int, source: int, pages: Pages) -> None:
    """Copy pages from one memory to the other."""
    _COPY(to, source, pages, len(pages))


def discard(memory: int, pages: Pages) -> None:
    """Make pages of a private mapping those of its file again. Raises OSError."""
    if not _DISCARD(memory, pages, len(pages)):
        raise OSError("a private mapping cannot be undone (madvise)")


def map_private(memory: int, size: int, file: int) -> None:
    """Put a private mapping of `file` in the place of the memory. Raises OSError."""
    if not _MAP(memory, size, file):
        raise OSError("memory cannot be mapped (mmap)")


def forget(core: int, base: int, pages: Pages) -> None:
    """Drop the code translated from pages of the memory at physical address `base`, while the MMU is off.

    `core` is the address of the `struct core`.
    """
    _FORGET(core, base, pages, len(pages))
