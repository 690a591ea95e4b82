# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the contents of pages are kept: in memory, or in an unnamed file when told so."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final, TypeAlias

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.native.pages import PAGE

Content: TypeAlias = "bytes | int"
"""A page in a store: the bytes, or the place in the file, counted in pages."""

ZEROS: Final = bytes(PAGE)


class PageStore:
    """Pages of 4 KiB. Those full of zeros take no room. `size` is what the others take in memory, in bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._file: int | None = None
        self._free: list[int] = []  # places in the file
        self._places = 0  # that the file has

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def put(self, content: bytes) -> Content:
        """Keep a page. With a file, `reserve` must have found a place for it."""
        if content == ZEROS:
            return ZEROS
        if self._file is None:
            self.size += PAGE
            return content
        place = self._free.pop()
        os.pwrite(self._file, content, place * PAGE)
        return place

    def get(self, content: Content) -> bytes:
        """A page that is kept."""
        if isinstance(content, bytes):
            return content
        assert self._file is not None
        return os.pread(self._file, PAGE, content * PAGE)

    def drop(self, content: Content) -> None:
        """Keep a page no longer."""
        if isinstance(content, int):
            self._free.append(content)
        elif content is not ZEROS:
            self.size -= PAGE

    def spill(self, folder: Path) -> None:
        """Keep pages in an unnamed file in `folder` from now on. Raises MachineError if none can be made."""
        if self._file is None:
            with host_files.explained("write", folder), tempfile.TemporaryFile(dir=folder) as file:
                self._file = os.dup(file.fileno())

    @property
    def spilling(self) -> bool:
        """Whether pages are kept in a file."""
        return self._file is not None

    def reserve(self, count: int) -> None:
        """Make sure that `count` more pages can be kept. Raises MachineError when the disk is full."""
        missing = count - len(self._free)
        if self._file is None or missing <= 0:
            return
        try:
            os.posix_fallocate(self._file, self._places * PAGE, missing * PAGE)
        except OSError as error:
            raise MachineError(
                f"the file for the memory of checkpoints cannot grow by {missing * PAGE >> 10} KiB "
                f"({error.strerror}): make room on that disk, or drop checkpoints"
            ) from None
        self._free += range(self._places, self._places + missing)
        self._places += missing
