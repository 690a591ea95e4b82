# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a guest's files and lays them out in memory, whatever their format."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from armprobe.machine import board
from armprobe.machine.errors import MachineError

from . import elf, image
from .guest import LoadedGuest, Segment

__all__ = ["DEMO", "LoadedGuest", "Segment", "parse_size", "read_guest"]

DEMO: Final = Path(__file__).parent.parent.parent / "guests/demo/demo.elf"
"""The guest that "demo" means."""

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """The bytes that `text` means: "256M", "1G", "65536K" (powers of 1024), or a plain number of bytes.

    Raises MachineError when it means none.
    """
    match = re.fullmatch(r"([0-9]{1,20})([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise MachineError(f"'{text}' is not a size: write a number and K, M or G, such as 256M")
    return int(match[1]) * _UNITS[match[2].upper()]


def read_guest(
    guest: str | Path,
    *,
    initrd: str | Path | None = None,
    cmdline: str | None = None,
    memory: int = board.RAM_SIZE,
) -> LoadedGuest:
    """What to start for `guest`: "demo", or the path of an ELF or of a kernel, told apart by their content.

    `memory` is in bytes. `initrd` and `cmdline` are for kernels; the command line is appended to
    `image.COMMAND_LINE`. Raises MachineError, with a sentence for the user, for anything that cannot be started.
    """
    board.check_memory_size(memory)
    path = DEMO if guest == "demo" else Path(guest)
    disk = None if initrd is None else Path(initrd)
    try:
        for file in (path, disk):
            if file is not None:
                _check_regular(file)
        with path.open("rb") as stream:
            start = stream.read(64)
        if image.recognise(start):
            return image.load(path, initrd=disk, cmdline=cmdline or "", memory=memory)
        if not start.startswith(elf.MAGIC):
            what = "is neither an ELF nor an arm64 kernel Image" if start else "is empty"
            raise MachineError(f"{path} {what}: give armprobe a bare-metal AArch64 ELF, a kernel, or 'demo'")
        if disk is not None or cmdline:
            raise MachineError(f"{path} is an ELF: an initial RAM disk and a command line are for kernel Images")
        return elf.load(path, memory=memory)
    except OSError as error:
        raise MachineError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def _check_regular(path: Path) -> None:
    """Before it is opened: to open a pipe would wait for somebody to write into it."""
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL, or what the file system's encoding does not have
        raise MachineError(f"cannot read {str(path)!r}: it is no file name ({error})") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a directory fails with a reason
        raise MachineError(f"{path} is not a regular file: give armprobe the guest as a file")
