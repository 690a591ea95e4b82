# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads Linux kernels: the arm64 Image (Documentation/arch/arm64/booting.rst), plain, gzip, or an EFI zboot image."""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from armprobe import wiring
from armprobe.machine import board, device_tree, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import Symbols

from .guest import LoadedGuest, Segment
from .vmlinux import KERNEL_AT, LINK_ALIGNMENT
from .vmlinux import read as read_vmlinux

COMMAND_LINE: Final = f"console=ttyAMA0 earlycon=pl011,{board.UART.base:#x} nokaslr random.trust_bootloader=on"
"""The default command line of a kernel; without nokaslr for a kernel that is to move."""

_HEADER: Final = struct.Struct("<8xQQQ24x4s4x")  # text_offset, image_size, flags, magic
_MAGIC: Final = b"ARMd"
_PIECE: Final = 64 << 10  # bytes
_UNPACKED: Final = 3  # a kernel may unpack to this many times its compressed size,
_UNPACKED_MORE: Final = 28 << 20  # plus this many bytes; Debian's kernels unpack to four times their compressed size
_WINDOW: Final = 80 << 20  # bytes; `lzma -9` takes 65 MiB
_ZBOOT: Final = struct.Struct("<2s2x4sII8x32s")  # "MZ", "zimg", payload's offset and size, compression
_GZIP: Final = b"\x1f\x8b"
_PAGE_SIZES: Final = {0: 0, 1: 4, 2: 16, 3: 64}  # bits 2:1 of flags: KiB, 0 for not stated
_OLD_TEXT_OFFSET: Final = 0x8_0000  # used when image_size is 0, before Linux 3.17

_DEVICE_TREE_AT: Final = board.RAM_BASE + 0x700_0000
_INITRD_AT: Final = board.RAM_BASE + 0x800_0000
_DEVICE_TREE_ROOM: Final = _INITRD_AT - _DEVICE_TREE_AT


def recognise(data: bytes) -> bool:
    """Whether `load` takes the file that starts with `data` (at least 64 bytes): an Image or a compressed file."""
    return _is_image(data) or data.startswith(_GZIP) or _is_zboot(data)


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
    image = _unpack(path, _read(path, limit=memory), limit=memory)
    text_offset, image_size, flags, _ = _HEADER.unpack_from(image)
    if flags & 1:
        raise MachineError(f"{path} is a big-endian kernel: armprobe runs little-endian ones")
    if _PAGE_SIZES[flags >> 1 & 3] not in (0, 4):
        raise MachineError(
            f"{path} is built for pages of {_PAGE_SIZES[flags >> 1 & 3]} KiB: armprobe runs kernels with 4 KiB pages"
        )
    if not image_size:
        text_offset = _OLD_TEXT_OFFSET
    if image_size > board.RAM_END_MAX:  # otherwise the parts after it would have no address
        raise MachineError(
            f"the kernel of {host_files.shown(path)} needs {image_size:,} bytes, more than the {memory >> 20} MiB of "
            "memory: give it more memory"
        )
    if text_offset >= LINK_ALIGNMENT:
        raise MachineError(f"{path} has a damaged header: text_offset is {text_offset:#x}, and 2 MiB is the limit")
    symbols, notes = _symbols(path, image)
    dwarf = None
    if vmlinux is not None:
        known = read_vmlinux(vmlinux, symbols, lambda _: image)
        symbols, dwarf, notes = known.symbols, known.dwarf, known.notes
    board.check_command_line(command_line)
    segments = [
        Segment(
            what="the kernel",
            address=KERNEL_AT + text_offset,
            data=image,
            size=max(image_size, len(image)),
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
        disk = _read(initrd, limit=memory)
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


def _read(path: Path, *, limit: int) -> bytes:
    with host_files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise MachineError(
            f"{host_files.shown(path)} has {size:,} bytes, more than the {limit >> 20} MiB of memory: "
            "give it more memory"
        )
    return host_files.read_file(path, limit)


def _round_up(address: int) -> int:
    return -(-address // LINK_ALIGNMENT) * LINK_ALIGNMENT


def _is_image(data: bytes) -> bool:
    return len(data) >= _HEADER.size and _HEADER.unpack_from(data)[3] == _MAGIC


def _is_zboot(data: bytes) -> bool:
    return len(data) >= _ZBOOT.size and _ZBOOT.unpack_from(data)[:2] == (b"MZ", b"zimg")


def _unpack(path: Path, data: bytes, *, limit: int) -> bytes:
    """The Image in the file `data`, at most `limit` bytes."""
    if _is_zboot(data):
        _, _, offset, size, name = _ZBOOT.unpack_from(data)
        compression = name.split(b"\0")[0].decode("latin-1")
        if compression not in ("gzip", "xzkern", "xz", "lzma"):
            raise MachineError(
                f"{path} is an EFI zboot image compressed with {host_files.shown(compression)}, which armprobe does "
                "not unpack: give it the kernel's plain Image"
            )
        if offset + size > len(data):
            raise MachineError(f"{path} is cut short: its payload ends at byte {offset + size}, and it has {len(data)}")
        unpack = _gunzipped if compression == "gzip" else _unxzed
        return _decompress(path, unpack(memoryview(data)[offset : offset + size]), size, limit)
    if data.startswith(_GZIP):
        return _decompress(path, _gunzipped(memoryview(data)), len(data), limit)
    return data


def _decompress(path: Path, pieces: Iterator[bytes], size: int, limit: int) -> bytes:
    """The Image that `pieces` form, unpacked from `size` bytes. Bounded, as a few bytes can unpack to gigabytes."""
    most = min(limit, _UNPACKED * size + _UNPACKED_MORE)
    unpacked = cast(bytes, bytearray())  # it is read like bytes; a conversion would make a second copy
    try:
        for piece in pieces:
            unpacked += piece
            if len(unpacked) >= _HEADER.size and not _is_image(unpacked):
                break
            if len(unpacked) > most:
                if most == limit:
                    raise MachineError(
                        f"{path} unpacks to more than the {limit >> 20} MiB of memory: give it more memory"
                    )
                raise MachineError(
                    f"{path} unpacks to more than {most:,} bytes, which no kernel of its size does: give it unpacked"
                )
    except (zlib.error, lzma.LZMAError) as error:
        raise MachineError(f"{path} cannot be unpacked, so it is damaged or no kernel ({error})") from error
    except EOFError:
        raise MachineError(f"{path} is cut short: its compressed data has no end") from None
    if not _is_image(unpacked):
        raise MachineError(
            f"{path} is compressed, and what is in it is not an arm64 kernel Image: give it a kernel for arm64"
        )
    return unpacked


def _gunzipped(data: memoryview) -> Iterator[bytes]:
    """The unpacked content of `data`, in pieces. Raises zlib.error, and EOFError when `data` is cut short."""
    unpacker = zlib.decompressobj(wbits=31)
    for at in range(0, len(data), _PIECE):
        piece: bytes | memoryview = data[at : at + _PIECE]
        while not unpacker.eof and (unpacked := unpacker.decompress(piece, _PIECE)):
            yield unpacked
            piece = unpacker.unconsumed_tail
        if unpacker.eof:
            return
    raise EOFError


def _unxzed(data: memoryview) -> Iterator[bytes]:
    """Like `_gunzipped`, for xz and lzma. Raises lzma.LZMAError."""
    unpacker = lzma.LZMADecompressor(memlimit=_WINDOW)
    at = 0
    while not unpacker.eof:
        piece = data[at : at + _PIECE] if unpacker.needs_input else b""
        if unpacker.needs_input and not piece:
            raise EOFError
        at += len(piece)
        yield unpacker.decompress(piece, _PIECE)


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
