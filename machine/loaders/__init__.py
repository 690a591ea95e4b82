# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a guest's files and lays them out in memory, whatever their format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from armprobe.machine import board, host_files
from armprobe.machine.errors import MachineError

from . import elf, image, kernel_file, raw
from .guest import LoadedGuest, Segment

__all__ = ["DEMO", "LoadedGuest", "Segment", "parse_size", "read_guest"]

DEMO: Final = Path(__file__).parent.parent.parent / "guests/demo/demo.elf"
"""The guest that "demo" means."""

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """The size in bytes for a text such as "256M", "1G" or "65536K" (powers of 1024), or a plain number of bytes.

    Raises MachineError for any other text.
    """
    match = re.fullmatch(r"([0-9]{1,20})([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise MachineError(f"'{text}' is not a size: write a number and K, M or G, such as 256M")
    return int(match[1]) * _UNITS[match[2].upper()]


def read_guest(
    guest: str | Path,
    *,
    initrd: str | Path | None = None,
    vmlinux: str | Path | None = None,
    cmdline: str | None = None,
    append: str | None = None,
    base: int | None = None,
    memory: int = board.RAM_SIZE,
    kaslr: int | None = None,
) -> LoadedGuest:
    """The loaded guest for `guest`: "demo", or the path of an ELF or of a kernel, distinguished by their content.

    `memory` is in bytes. `initrd`, `vmlinux`, `cmdline`, `append` and `kaslr` are for kernels: see `image.load` and
    `command_line`. `base` is the physical address of a position-independent ELF or of a raw binary; with it, any file
    that is no ELF is a raw binary. Raises MachineError, with a sentence for the user, for anything that cannot be
    started.
    """
    board.check_memory_size(memory)
    line = command_line(cmdline, append, kaslr)
    with host_files.open_regular(DEMO if guest == "demo" else guest) as file:
        start = file.read(64)
    path = DEMO if guest == "demo" else Path(guest)
    is_elf = start.startswith(elf.MAGIC)
    is_kernel = base is None and (kernel_file.recognise_vmlinux(path) if is_elf else kernel_file.recognise(start))
    if not is_kernel and any(value is not None for value in (initrd, vmlinux, cmdline, append, kaslr)):
        raise MachineError(
            f"{host_files.shown(path)} is {'an ELF' if is_elf else 'no kernel Image'}: "
            "an initial RAM disk, a vmlinux, a command line and KASLR are for kernel Images"
        )
    if is_kernel:
        disk, symbols = (None if each is None else Path(each) for each in (initrd, vmlinux))
        return image.load(path, initrd=disk, vmlinux=symbols, command_line=line, memory=memory, kaslr=kaslr)
    if base is not None and not is_elf:
        return raw.load(path, base=base, memory=memory)
    if not start.startswith(elf.MAGIC):
        what = "is neither an ELF nor an arm64 kernel Image" if start else "is empty"
        raise MachineError(
            f"{host_files.shown(path)} {what}: give armprobe a bare-metal AArch64 ELF, a kernel, or 'demo'; "
            "a raw binary needs the address that it is to be put at (base)"
        )
    return elf.load(path, base=base, memory=memory)


def command_line(cmdline: str | None, append: str | None, kaslr: int | None = None) -> str:
    """A kernel's command line: `cmdline`, or `image.COMMAND_LINE` if that is None, followed by `append`.

    With a seed for KASLR, `image.COMMAND_LINE` is taken without nokaslr.
    """
    usual = image.COMMAND_LINE if kaslr is None else image.COMMAND_LINE.replace(" nokaslr", "")
    line = usual if cmdline is None else cmdline
    return f"{line} {append.strip()}" if append and append.strip() else line
