# SPDX-License-Identifier: GPL-2.0-or-later
"""Strings in the guest's memory, whose length is not known before they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from armprobe.machine import MachineError

from .errors import AgentError

_PIECE: Final = 64  # bytes; a piece ends where an address is a multiple of it, and so is in one page
_MASK: Final = (1 << 64) - 1


def string_pieces(read: Callable[[int, int], bytes], address: int, most: int) -> Iterator[bytes]:
    """The bytes from `address` on up to a NUL, which is included, or `most` of them, in pieces.

    Where a byte before the end cannot be read, what `read` says of it is raised after the pieces up to there.
    """
    end = address + most
    while address < end:
        size = min(_PIECE - address % _PIECE, end - address)
        try:
            piece = read(address & _MASK, size)
        except (AgentError, MachineError):
            piece = read(address & _MASK, 1)
        text, nul, _ = piece.partition(b"\0")
        yield text + nul
        if nul:
            return
        address += len(piece)
