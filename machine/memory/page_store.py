# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the contents of pages are kept: in a file without a name, in memory, or on a disk when told so."""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path
from typing import Final

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.native import pages as native
from armprobe.machine.native.pages import PAGE, Pages

NOWHERE: Final = -1
"""The place of a page that is full of zeros."""
_ZEROS: Final = bytes(PAGE)
_PIECE: Final = 1 << 20  # bytes copied at once


class PageStore:
    """Pages of 4 KiB, each known by its place in the file, counted in pages. Those full of zeros take no room."""

    def __init__(self) -> None:
        self._file = os.memfd_create("armprobe checkpoints", os.MFD_CLOEXEC)
        self.spilling = False
        """Whether the file is on a disk."""
        self._free = array("i")  # places in it
        self._places = 0  # that it has

    def __del__(self) -> None:
        os.close(self._file)

    @property
    def size(self) -> int:
        """What the pages take in memory, in bytes."""
        return 0 if self.spilling else (self._places - len(self._free)) * PAGE

    def reserve(self, count: int) -> None:
        """Make places for `count` more pages. Raises MachineError when the disk is full."""
        missing = count - len(self._free)
        if missing <= 0:
            return
        if self.spilling:
            _allocate(self._file, self._places, missing)
        self._free.extend(range(self._places, self._places + missing))
        self._places += missing

    def put(self, content: bytes) -> int:
        """Keep a page, for which `reserve` must have made a place. Returns that."""
        if content == _ZEROS:
            return NOWHERE
        place = self._free.pop()
        os.pwrite(self._file, content, place * PAGE)
        return place

    def put_pages(self, memory: int, pages: Pages) -> list[int]:
        """The same for pages of the memory at an address in this process."""
        first = len(self._free) - len(pages)
        free = self._free[first:]
        places, taken = native.store(self._file, memory, pages, free)
        self._free[first:] = free[taken:]
        return places

    def get(self, place: int) -> bytes:
        """A page that is kept."""
        return _ZEROS if place == NOWHERE else os.pread(self._file, PAGE, place * PAGE)

    def drop(self, place: int) -> None:
        """Keep a page no longer."""
        if place != NOWHERE:
            self._free.append(place)

    def spill(self, folder: Path) -> None:
        """Keep pages on the disk that has `folder` from now on. Raises MachineError if that cannot be."""
        if self.spilling:
            return
        with host_files.explained("write", folder), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            if self._places:
                _allocate(file.fileno(), 0, self._places)
            for at in range(0, self._places * PAGE, _PIECE):
                file.write(os.pread(self._file, _PIECE, at))
            os.dup2(file.fileno(), self._file, inheritable=False)
        self.spilling = True


def _allocate(file: int, places: int, count: int) -> None:
    try:
        os.posix_fallocate(file, places * PAGE, count * PAGE)
    except OSError as error:
        raise MachineError(
            f"the file for the memory of checkpoints cannot grow by {count * PAGE >> 10} KiB "
            f"({error.strerror}): make room on that disk, or drop checkpoints"
        ) from None
