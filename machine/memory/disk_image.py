# SPDX-License-Identifier: GPL-2.0-or-later
"""The content of a disk: a file of the host, which is only read, and in memory the pages that the guest has written."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.native.pages import PAGE, Pages, pages_of

from .page_store import PageStore

SECTOR: Final = 512
_LARGEST: Final = 1 << 44  # bytes: the numbers of its pages have 32 bits
MOST_WRITTEN: Final = (1 << 30) // PAGE
"""The number of pages that a guest can write: they are kept in memory."""
_HEADER: Final = struct.Struct("<QQI")  # size of the image, its time of change in nanoseconds, number of pages


class DiskFull(MachineError):
    """The guest has written as much as is kept."""


class DiskImage:
    """A disk whose content is first that of the file at `path`. `size` is in bytes, a multiple of `SECTOR`.

    It is a memory that checkpoints follow, as `time.checkpoint.Memory` says. The file must not change while it is in
    use: its size and its time of change are looked at before each read. Raises MachineError for what is no regular
    file, or is empty, or of another size than whole sectors.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = host_files.shown(path)
        with host_files.open_regular(path) as file, host_files.explained("read", path):
            self._file = os.dup(file.fileno())
            status = os.fstat(self._file)
        self.size, self._changed_at = status.st_size, status.st_mtime_ns
        if not 0 < self.size <= _LARGEST or self.size % SECTOR:
            raise MachineError(
                f"{self.name} is no disk image: it has {self.size:,} bytes, and a disk has whole sectors of {SECTOR}"
            )
        self.identity = f"{os.path.realpath(path)} {self.size} {self._changed_at}".encode()
        """Differs for images of different content."""
        self.count = -(-self.size // PAGE)
        # Pages that were ever written: their present content, and that of the base of checkpoints.
        self._pages: dict[int, bytes] = {}
        self._base: dict[int, bytes] = {}
        self._dirty: set[int] = set()
        self._first: dict[int, bytes] = {}  # what a snapshot file had

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes from `at` on, which must be in the disk. Raises MachineError if the file has changed."""
        first, end = at // PAGE, -(-(at + size) // PAGE)
        data = self._read_file(first * PAGE, (end - first) * PAGE)
        if self._pages:
            content = bytearray(data)
            for number in self._pages.keys() & range(first, end):
                content[(number - first) * PAGE : (number - first + 1) * PAGE] = self._pages[number]
            data = bytes(content)
        return data[at - first * PAGE :][:size]

    def write(self, at: int, data: bytes) -> None:
        """Write `data` from `at` on, which must be in the disk. Raises DiskFull, and MachineError as `read` does."""
        numbers = range(at // PAGE, -(-(at + len(data)) // PAGE))
        new = [number for number in numbers if number not in self._pages]
        if len(self._pages) + len(new) > MOST_WRITTEN:
            raise DiskFull(f"the guest has written {MOST_WRITTEN * PAGE >> 20} MiB to {self.name}, which is the limit")
        for number in new:
            self._base[number] = self._pages[number] = self._read_file(number * PAGE, PAGE)
        for number in numbers:
            before, start = self._pages[number], number * PAGE
            head, tail = max(0, at - start), min(PAGE, at + len(data) - start)
            self._pages[number] = before[:head] + data[start + head - at : start + tail - at] + before[tail:]
            self._dirty.add(number)

    def _read_file(self, at: int, size: int) -> bytes:
        """The file's content, with zeros behind its end."""
        with host_files.explained("read", self.name):
            status = os.fstat(self._file)
            if (status.st_size, status.st_mtime_ns) != (self.size, self._changed_at):
                raise MachineError(
                    f"{self.name} was changed while it is the guest's disk: start the guest again, with an image that "
                    "nothing else writes to"
                )
            return os.pread(self._file, size, at).ljust(size, b"\0")

    def unload(self) -> None:
        """Go back to the content at first, if no checkpoints follow it."""
        self._dirty |= self._pages.keys()
        for number in self._pages:
            self._pages[number] = self._first.get(number) or self._read_file(number * PAGE, PAGE)

    @property
    def written(self) -> int:
        """The bytes of the pages that the guest has written to."""
        return len(self._pages) * PAGE

    def export(self, out: BinaryIO) -> None:
        """Write the whole content to `out`, with holes where it is zeros."""
        step = 1 << 20
        for at in range(0, self.size, step):
            data = self.read(at, min(step, self.size - at))
            if data.count(0) == len(data):
                out.seek(len(data), os.SEEK_CUR)
            else:
                out.write(data)
        out.truncate(self.size)

    # As checkpoints see it.

    def changed(self) -> Pages:
        return pages_of(sorted(self._dirty))

    def keep(self, pages: Pages, store: PageStore, exact: bool) -> tuple[Pages, list[int], Pages]:
        stored = [store.put(self._base[number]) for number in pages]
        for number in pages:
            self._base[number] = self._pages[number]
        self._dirty.clear()
        return pages, stored, pages_of([])

    def put_back(self, pages: Pages) -> None:
        for number in pages:
            self._pages[number] = self._base[number]
        self._dirty.clear()

    def base_page(self, number: int) -> bytes:
        if number not in self._base:  # a page that the guest had not written to when a snapshot file was made
            self._base[number] = self._pages[number] = self._read_file(number * PAGE, PAGE)
        return self._base[number]

    def set_base_page(self, number: int, content: bytes) -> None:
        self._base[number] = content

    # In snapshot files.

    def to_bytes(self) -> bytes:
        """What the guest has written, and which image to."""
        numbers = sorted(self._pages)
        header = _HEADER.pack(self.size, self._changed_at, len(numbers)) + bytes(pages_of(numbers))
        return b"".join([header, *(self._pages[number] for number in numbers)])

    def restore(self, data: bytes) -> None:
        """Have the content that `to_bytes` has saved. Raises MachineError for another image, and for damaged data."""
        found = self._written(data)
        self.unload()
        for number, content in found.items():
            if number not in self._pages:
                self._base[number] = self._read_file(number * PAGE, PAGE)
            self._pages[number] = content
        self._dirty |= found.keys()

    def start_from(self, data: bytes) -> None:
        """The same for a machine that begins with it."""
        self._first = self._written(data)
        self._pages, self._base = dict(self._first), dict(self._first)

    def _written(self, data: bytes) -> dict[int, bytes]:
        if len(data) < _HEADER.size:
            raise MachineError("the snapshot's disk is damaged: make the snapshot again")
        size, changed_at, count = _HEADER.unpack_from(data)
        if (size, changed_at) != (self.size, self._changed_at):
            raise MachineError(
                f"{self.name} is not the disk image that the snapshot was made with, as its size or its time of change "
                "differs: give that one (cp -p keeps the time)"
            )
        start = _HEADER.size + 4 * count
        if len(data) != start + PAGE * count:
            raise MachineError("the snapshot's disk is damaged: make the snapshot again")
        numbers = struct.unpack_from(f"<{count}I", data, _HEADER.size)
        if any(number >= self.count for number in numbers) or len(set(numbers)) != count:
            raise MachineError("the snapshot's disk is damaged: make the snapshot again")
        return {number: data[start + PAGE * at :][:PAGE] for at, number in enumerate(numbers)}
