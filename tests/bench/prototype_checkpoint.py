# SPDX-License-Identifier: GPL-2.0-or-later
"""A checkpoint of Linux, and the least that one takes: copying the changed pages of memory to what it was mapped from.

The least is that of a private mapping of a file in memory. /proc/self/pagemap tells which of its pages were changed:
those that are present and not the file's (Linux Documentation/admin-guide/mm/pagemap.rst). They are copied and written
to the file, and the mapping is reset.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import statistics
import time
from itertools import compress
from typing import Final

from armprobe.machine.devices.timer import FREQUENCY
from tests.bench.past import at_work  # tests have no import name to go by

_PAGE: Final = 4096
_CHANGED: Final = bytes(value >> 7 & ~value >> 5 & 1 for value in range(256))  # by bits 56 to 63: present, not a file's


class Prototype:
    """A memory of `size` bytes that checkpoints are taken of."""

    def __init__(self, size: int) -> None:
        self._file = os.memfd_create("base")
        os.ftruncate(self._file, size)
        self._count = size // _PAGE
        self.memory = mmap.mmap(self._file, size, mmap.MAP_PRIVATE)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory)) // _PAGE
        self._map = os.open("/proc/self/pagemap", os.O_RDONLY)

    def take(self) -> list[tuple[int, bytes]]:
        """The pages that were changed since the last time."""
        flags = os.pread(self._map, self._count * 8, self._first * 8)[7::8].translate(_CHANGED)
        pages = [(at, self.memory[at : at + _PAGE]) for at in compress(range(0, self._count * _PAGE, _PAGE), flags)]
        for at, content in pages:
            os.pwrite(self._file, content, at)
        self.memory.madvise(mmap.MADV_DONTNEED)
        return pages


def checkpoints(scale: float) -> dict[str, float]:
    """Milliseconds of a checkpoint, and of one of the prototype's of as many changed pages, by turns."""
    guest = at_work()
    prototype, chance = Prototype(guest.ram.size), random.Random(1)
    took: dict[str, list[float]] = {"checkpoint": [], "prototype": []}
    for _ in range(max(5, int(20 * scale))):
        guest.run(instructions=FREQUENCY // 5)
        start = time.perf_counter()
        taken = guest.checkpoints.take()
        took["checkpoint"].append((time.perf_counter() - start) * 1000)
        changed = chance.sample(range(guest.ram.size // _PAGE), len(taken.pages))
        for page in changed:
            prototype.memory[page * _PAGE] = chance.randrange(256)
        start = time.perf_counter()
        pages = prototype.take()
        took["prototype"].append((time.perf_counter() - start) * 1000)
        assert len(pages) == len(changed)
    return {f"{name}_ms": statistics.median(values) for name, values in took.items()}
