# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading strings, whose length is not known in advance, from the guest's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from armprobe.machine import MachineError

from .errors import AgentError

_PIECE: Final = 64  # bytes; a piece ends at a multiple of this address, and so lies in one page
_MASK: Final = (1 << 64) - 1


def string_pieces(read: Callable[[int, int], bytes], address: int, most: int) -> Iterator[bytes]:
    """The bytes from `address` up to and including a NUL, at most `most`, in pieces.

    If a byte before the end cannot be read, the error of `read` is raised after the pieces before that byte.
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
