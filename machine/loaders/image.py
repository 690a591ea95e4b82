# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads Linux kernels, as Documentation/arch/arm64/booting.rst says."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Final

from armprobe import wiring
from armprobe.machine import board, device_tree, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import Symbols

from . import kernel_file
from .guest import LoadedGuest, Segment
from .vmlinux import KERNEL_AT, LINK_ALIGNMENT
from .vmlinux import read as read_vmlinux

COMMAND_LINE: Final = f"console=ttyAMA0 earlycon=pl011,{board.UART.base:#x} nokaslr random.trust_bootloader=on"
"""The default command line of a kernel; without nokaslr for a kernel that is to move."""

_DEVICE_TREE_AT: Final = board.RAM_BASE + 0x700_0000
_INITRD_AT: Final = board.RAM_BASE + 0x800_0000
_DEVICE_TREE_ROOM: Final = _INITRD_AT - _DEVICE_TREE_AT


def load(
    path: Path, *, initrd: Path | None, vmlinux: Path | None, command_line: str, memory: int, kaslr: int | None = None
) -> LoadedGuest:
    """The kernel at `path`, with the initial RAM disk at `initrd`, ready to boot in `memory` bytes.

    `vmlinux` is the ELF that the kernel is made from, if available. `kaslr` seeds the choice of the address that the
    kernel moves to (1 to 2**64 - 1); the symbols have their link addresses all the same, see `machine.kaslr`. Raises
    MachineError when the kernel cannot boot.
    """
    if kaslr is not None:
        _check_kaslr(kaslr, command_line, vmlinux)
    file = kernel_file.read(path, memory)
    return lay_out(file, initrd=initrd, vmlinux=vmlinux, command_line=command_line, memory=memory, kaslr=kaslr)


def lay_out(
    file: kernel_file.KernelFile,
    *,
    initrd: Path | None,
    vmlinux: Path | None,
    command_line: str,
    memory: int,
    kaslr: int | None = None,
) -> LoadedGuest:
    """Like `load`, for a kernel's file that is read."""
    path = file.path
    file.check_bootable(memory)
    image, text_offset = file.image, file.text_offset
    if file.format == "vmlinux" and kaslr is None and file.has_symbols:
        vmlinux = vmlinux or path
    symbols, notes = _symbols(path, image)
    dwarf = None
    if vmlinux is not None:
        known = read_vmlinux(vmlinux, symbols, None if vmlinux == path else lambda _: image)
        symbols, dwarf, notes = known.symbols, known.dwarf, known.notes
    board.check_command_line(command_line)
    segments = [
        Segment(
            what="the kernel",
            address=KERNEL_AT + text_offset,
            data=image,
            size=max(file.image_size, len(image)),
            virtual=_link_base(symbols, text_offset),
        )
    ]
    # Parts that do not fit below a large kernel move up behind it.
    shift = max(0, _round_up(segments[0].end) - _DEVICE_TREE_AT)
    tree_at, initrd_at = _DEVICE_TREE_AT + shift, _INITRD_AT + shift
    sources = [path]
    disk = b""
    if initrd is not None:
        sources.append(initrd)
        disk = kernel_file.read_whole(initrd, memory)
        if not disk:
            raise MachineError(f"{initrd} is empty: an initial RAM disk is a cpio archive, which may be compressed")
        segments.append(Segment("the initial RAM disk", initrd_at, disk, len(disk)))
    # The same inputs give the same numbers, so that runs can be repeated.
    seed = hashlib.blake2b(command_line.encode() + struct.pack("<QQ", memory, len(image)))
    for part in (image, disk):
        seed.update(part)
    span = (initrd_at, initrd_at + len(disk)) if disk else None
    tree = device_tree.build(memory, command_line, span, seed.digest(), kaslr)
    assert len(tree) <= _DEVICE_TREE_ROOM
    segments.append(Segment("the device tree", tree_at, tree, len(tree)))
    return LoadedGuest(
        kind="linux",
        memory=memory,
        segments=tuple(segments),
        entry=segments[0].address,
        x0=tree_at,
        device_tree=tree,
        symbols=symbols,
        sources=tuple(sources),
        dwarf=dwarf,
        notes=notes,
    )


def _check_kaslr(seed: int, command_line: str, vmlinux: Path | None) -> None:
    """Raise MachineError for what contradicts a kernel that moves."""
    if not 0 < seed < 1 << 64:
        raise MachineError(f"{seed} is no seed for KASLR: give a number from 1 to 2**64 - 1")
    if "nokaslr" in command_line.split():
        raise MachineError("the command line has nokaslr, so the kernel would not move: leave it or --kaslr out")
    if vmlinux is not None:
        raise MachineError(
            f"{host_files.shown(vmlinux)} has the addresses that the kernel is linked at, and with KASLR it runs at "
            "others: leave --vmlinux or --kaslr out"
        )


def _round_up(address: int) -> int:
    return -(-address // LINK_ALIGNMENT) * LINK_ALIGNMENT


def _symbols(path: Path, image: bytes) -> tuple[Symbols, tuple[str, ...]]:
    try:
        return wiring.kernel_symbols(image), ()
    except MachineError as error:
        return Symbols(), (f"{path}: {error}",)


def _link_base(symbols: Symbols, text_offset: int) -> int | None:
    """The virtual address of the Image's first byte: _text, or the value that puts the lowest symbol in the text.

    A kernel without CONFIG_KALLSYMS_ALL leaves _text out. KIMAGE_VADDR is a multiple of 2 MiB (asm/memory.h).
    """
    if text := symbols.get("_text"):
        return text.address
    lowest = next(iter(symbols), None)
    return None if lowest is None else lowest.address // LINK_ALIGNMENT * LINK_ALIGNMENT + text_offset
