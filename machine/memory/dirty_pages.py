# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of a memory have changed since it was last looked at, and a copy of the memory as it was then.

Linux says for each page of a private mapping of a file whether it is still the file's (/proc/self/pagemap, its bit 61).
So the file holds the copy, and what the guest has written to is found without comparing memory. Where there is no such
file, as in gVisor, or where it does not have that bit, memory is compared with a copy.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
from typing import ClassVar, Final, Protocol

from armprobe.machine.native import pages as native
from armprobe.machine.native.pages import PAGE, Pages

from .bus import Backing, Ram, new_memory

PAGEMAP: Final = "/proc/self/pagemap"


class DirtyPages(Protocol):
    """The changed pages of one memory. `base` is the copy of it: at first its content when the guest was loaded.

    `exact` says whether pages count as changed where what was there has been written once more.
    """

    exact: ClassVar[bool]
    base: memoryview

    def __init__(self, ram: Ram) -> None: ...

    def changed(self) -> Pages:
        """The pages that may differ from `base`. All that do are among them."""

    def keep(self, changed: Pages, unmarked: Pages) -> None:
        """Copy the pages that differ from `base` to it. Those `unmarked` count as changed only if they change again."""

    def put_back(self, pages: Pages) -> None:
        """Copy these pages from `base`."""


def filled(memory: Backing, step: int) -> list[int]:
    """The offsets of the pieces of `step` bytes of a memory that may hold other bytes than zeros, in ascending order.

    Linux allocates a page of a file in memory where a mapping of it is read. So what has never been written is not to
    be read, or a guest takes as much memory as it might.
    """
    size, file = len(memory), memory.file
    if file is None or not _pagemap_works():
        return list(range(0, size, step))
    pieces = {page * PAGE // step for page in _written(memory)}
    end = 0
    with contextlib.suppress(OSError):  # ENXIO: there is no more data
        while end < size:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
            pieces.update(range(start // step, -(-min(end, size) // step)))
    return [piece * step for piece in sorted(pieces)]


def _written(memory: Backing) -> Pages:
    """The pages of a private mapping that have been written to."""
    pagemap = os.open(PAGEMAP, os.O_RDONLY | os.O_CLOEXEC)  # an open file stays that of the process before a fork
    try:
        with memoryview(memory) as content:
            return native.written(pagemap, native.address_of(content), len(content) // PAGE)
    finally:
        os.close(pagemap)


class PrivateMapping:
    """Makes the memory a private mapping of `base`, at its own address, when it is first copied.

    A page that has changed may stay the mapping's own when it is copied: the guest is likely to write to it again, and
    if it were the file's, Linux would have to copy it then.
    """

    exact: ClassVar[bool] = True

    def __init__(self, ram: Ram) -> None:
        self._ram, self._memory, self._size = ram, native.address_of(ram.data), ram.size
        self._mapped = ram.pages.file is not None
        if ram.pages.file is not None:
            self._file = ram.pages.file
        else:
            self._file = ram.pages.file = os.memfd_create("armprobe memory", os.MFD_CLOEXEC)
            os.ftruncate(self._file, ram.size)
        self._pages = mmap.mmap(self._file, ram.size)
        self.base = memoryview(self._pages)
        self._base = native.address_of(self.base)

    def changed(self) -> Pages:
        return _written(self._ram.pages)

    def keep(self, changed: Pages, unmarked: Pages) -> None:
        native.copy(self._base, self._memory, changed)
        if self._mapped:
            native.discard(self._memory, unmarked)
        else:
            native.map_private(self._memory, self._size, self._file)
            self._mapped = True

    def put_back(self, pages: Pages) -> None:
        native.discard(self._memory, pages)


class Comparison:
    """Compares the memory with a copy of it."""

    exact: ClassVar[bool] = False

    def __init__(self, ram: Ram) -> None:
        self._memory, self._all = native.address_of(ram.data), native.pages_of(list(range(ram.size // PAGE)))
        file = -1 if ram.pages.file is None else ram.pages.file
        kind = mmap.MAP_PRIVATE | (mmap.MAP_ANONYMOUS if file < 0 else 0)
        self._pages = mmap.mmap(file, ram.size, flags=kind, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self.base = memoryview(self._pages)
        self._base = native.address_of(self.base)

    def changed(self) -> Pages:
        return native.differing(self._memory, self._base, self._all)[0]

    def keep(self, changed: Pages, unmarked: Pages) -> None:
        native.copy(self._base, self._memory, changed)

    def put_back(self, pages: Pages) -> None:
        native.copy(self._memory, self._base, pages)


def best() -> type[DirtyPages]:
    """What finds the changed pages here: `PrivateMapping` where Linux says what it needs to know."""
    return PrivateMapping if _pagemap_works() else Comparison


@functools.cache
def _pagemap_works() -> bool:
    """Try it on a memory of three pages."""
    if mmap.PAGESIZE != PAGE:
        return False
    memory = new_memory(3 * PAGE)
    try:
        tried = PrivateMapping(Ram("trial", 0, memoryview(memory), memory, len(memory)))
        memory[0] = 1
        tried.keep(tried.changed(), native.pages_of([]))
        memory[PAGE], read = 2, memory[2 * PAGE]
        changed = list(tried.changed())
        tried.put_back(native.pages_of([1]))
        return (changed, read, memory[0], memory[PAGE], list(tried.changed())) == ([1], 0, 1, 0, [])
    except OSError:
        return False
