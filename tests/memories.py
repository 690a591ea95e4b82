# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's memory compared with another: hundreds of megabytes, most of which are zeros. What a process has of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PIECE: Final = 1 << 16
_ZEROS: Final = bytes(PIECE)

Buffer = bytes | bytearray | memoryview


def digest(memory: memoryview) -> str:
    """A digest of the content. Pieces of zeros count only as what is not there, which takes a fifth of the time."""
    found = hashlib.sha256()
    for at in range(0, len(memory), PIECE):
        piece = memory[at : at + PIECE].tobytes()
        if piece != _ZEROS[: len(piece)]:
            found.update(at.to_bytes(8, "little") + piece)
    return f"{len(memory):x}-{found.hexdigest()}"


def memory_of(process: int, kind: str) -> int:
    """Bytes that a process has in memory: VmRSS now, VmHWM at most (proc(5)), and the pages that checkpoints keep.

    Those are in files in memory that are never mapped, so they are not in the numbers of the process.
    """
    folder = Path(f"/proc/{process}")
    found = re.search(rf"{kind}:\s+(\d+) kB", (folder / "status").read_text())
    assert found is not None, kind
    descriptors = (folder / "fd" / name for name in os.listdir(folder / "fd"))
    stores = [each for each in descriptors if os.path.lexists(each) and "armprobe checkpoints" in os.readlink(each)]
    blocks = {status.st_ino: status.st_blocks for status in map(os.stat, stores)}  # each file once
    return (int(found[1]) << 10) + sum(blocks.values()) * 512


def different_pieces(one: Buffer, other: Buffer) -> Iterator[int]:
    """The offsets of the pieces that are not the same."""
    assert len(one) == len(other)
    views = memoryview(one), memoryview(other)
    for at in range(0, len(one), PIECE):
        # Bytes are compared by memcmp, views one element after another.
        a, b = (view[at : at + PIECE].tobytes() for view in views)
        if a != b:
            yield at
