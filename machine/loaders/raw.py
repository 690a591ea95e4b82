# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads raw binaries: bytes that are put at an address and entered there, such as a boot loader's flat image."""

from __future__ import annotations

from pathlib import Path

from armprobe.machine import board, device_tree, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import Symbols

from .guest import LoadedGuest, Segment


def load(path: Path, *, base: int, memory: int) -> LoadedGuest:
    """The file at `path`, at physical address `base`, ready to run in `memory` bytes.

    Raises MachineError when the file is not a regular file or does not fit.
    """
    data = host_files.read_file(path, memory)
    if not data:
        raise MachineError(f"{host_files.shown(path)} is empty: a raw binary has an instruction at least")
    if base < 0 or base % 4:
        raise MachineError(f"a raw binary cannot begin at {base:#x}: an instruction's address is a multiple of 4")
    segments = (Segment("the raw binary", base, data, len(data), virtual=base),)
    tree, x0 = board_description(segments, memory)
    return LoadedGuest(
        kind="elf",
        memory=memory,
        segments=(*segments, *tree),
        entry=base,
        symbols=Symbols(),
        sources=(path,),
        x0=x0,
        device_tree=tree[0].data if tree else b"",
    )


def board_description(segments: tuple[Segment, ...], memory: int) -> tuple[tuple[Segment, ...], int]:
    """The segment with the board's device tree, and the value of x0, for a guest that is no kernel.

    The tree is at the start of RAM, as on QEMU's virt board, or after all other segments if the guest begins there. If
    neither place has room, there is no segment and x0 is 0.
    """
    tree = device_tree.build(memory, "", None, b"")
    behind = -(-max(segment.end for segment in segments) // board.PAGE) * board.PAGE
    for address in (board.RAM_BASE, behind):
        end = address + len(tree)
        free = all(end <= segment.address or segment.end <= address for segment in segments)
        if free and end <= board.RAM_BASE + memory:
            return (Segment("the device tree", address, tree, len(tree)),), address
    return (), 0
