# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpacks what kernels are compressed with (scripts/Makefile.lib of Linux), in pieces.

The content of a file is not trusted: a few bytes can unpack to gigabytes. So each form yields pieces of a few MiB at
most, and whoever takes them counts.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from armprobe.machine.errors import MachineError

_PIECE: Final = 64 << 10  # bytes
_XZ_MEMORY: Final = 80 << 20  # bytes; `lzma -9` takes 65 MiB
_ZSTD_WINDOW: Final = 128 << 20  # bytes; that of `zstd --ultra -22`, with which Linux compresses itself
_ZSTD_PIECE: Final = 1 << 10  # bytes: a block of 4 bytes can stand for 128 KiB (RFC 8878, 3.1.1.2), so these for 32 MiB
_LZ4_BLOCK: Final = 8 << 20  # bytes of an unpacked block in the legacy frame (lz4_Frame_format.md)
_LZ4_BOUND: Final = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # LZ4_COMPRESSBOUND
_LZ4_MAGIC: Final = b"\x02\x21\x4c\x18"


class DamagedError(Exception):
    """Compressed data is invalid."""


class Compression(NamedTuple):
    """A way in which a kernel is compressed.

    names: those in the header of an EFI zboot image (drivers/firmware/efi/libstub/Makefile.zboot). magic: the first
    bytes, empty where there are none. pieces: the unpacked content; raises DamagedError, EOFError when the data is cut
    short, and MachineError, without the file's name, when a library is missing.
    """

    name: str
    names: tuple[str, ...]
    magic: bytes
    pieces: Callable[[memoryview], Iterator[bytes]]


def _gunzipped(data: memoryview) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for at in range(0, len(data), _PIECE):
            piece: bytes | memoryview = data[at : at + _PIECE]
            while not unpacker.eof and (unpacked := unpacker.decompress(piece, _PIECE)):
                yield unpacked
                piece = unpacker.unconsumed_tail
            if unpacker.eof:
                return
    except zlib.error as error:
        raise DamagedError(error) from error
    raise EOFError


def _unxzed(data: memoryview) -> Iterator[bytes]:
    """xz and lzma."""
    return _decompressed(lzma.LZMADecompressor(memlimit=_XZ_MEMORY), data)


def _unbzipped(data: memoryview) -> Iterator[bytes]:
    return _decompressed(bz2.BZ2Decompressor(), data)


def _decompressed(unpacker: lzma.LZMADecompressor | bz2.BZ2Decompressor, data: memoryview) -> Iterator[bytes]:
    at = 0
    while not unpacker.eof:
        piece = data[at : at + _PIECE] if unpacker.needs_input else b""
        if unpacker.needs_input and not piece:
            raise EOFError
        at += len(piece)
        try:
            yield unpacker.decompress(piece, _PIECE)
        except (lzma.LZMAError, OSError) as error:  # OSError is bz2's
            raise DamagedError(error) from error


def _unzstded(data: memoryview) -> Iterator[bytes]:
    zstandard = _library("zstd", "zstandard")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    for at in range(0, len(data), _ZSTD_PIECE):
        try:
            yield unpacker.decompress(data[at : at + _ZSTD_PIECE])
        except zstandard.ZstdError as error:
            raise DamagedError(error) from error
        if unpacker.eof:
            return
    raise EOFError


def _unlz4ed(data: memoryview) -> Iterator[bytes]:
    """The legacy frame, which `lz4 -l` writes: its magic, and blocks, each after its size."""
    block = _library("lz4", "lz4.block")
    if bytes(data[:4]) != _LZ4_MAGIC:
        raise DamagedError("it has no legacy frame of LZ4")
    at, total = 4, 0
    while at < len(data):
        if at + 4 > len(data):
            raise EOFError
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if at == len(data) and total and size == total & 0xFFFF_FFFF:  # the unpacked size, which Linux's build appends
            return
        if size == struct.unpack("<I", _LZ4_MAGIC)[0]:  # another frame
            continue
        if not 0 < size <= _LZ4_BOUND:
            raise DamagedError(f"a block of LZ4 has {size:,} bytes")
        if at + size > len(data):
            raise EOFError
        try:
            unpacked: bytes = block.decompress(data[at : at + size], uncompressed_size=_LZ4_BLOCK)
        except block.LZ4BlockError as error:
            raise DamagedError(error) from error
        at += size
        total += len(unpacked)
        yield unpacked


def _unlzoed(data: memoryview) -> Iterator[bytes]:
    raise MachineError("is compressed with lzo, which armprobe does not unpack: give it the kernel's plain Image")


def _library(compression: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MachineError(
            f"is compressed with {compression}, for which armprobe needs a library: pip install 'armprobe[kernels]'"
        ) from None


COMPRESSIONS: Final = (
    Compression("gzip", ("gzip",), b"\x1f\x8b", _gunzipped),
    Compression("xz", ("xzkern", "xz"), b"\xfd7zXZ\0", _unxzed),
    Compression("zstd", ("zstd22", "zstd"), b"\x28\xb5\x2f\xfd", _unzstded),
    Compression("lz4", ("lz4",), _LZ4_MAGIC, _unlz4ed),
    Compression("lzma", ("lzma",), b"", _unxzed),
    Compression("lzo", ("lzo",), b"\x89LZO\0", _unlzoed),
    Compression("bzip2", ("bzip2",), b"BZh", _unbzipped),
)
"""The ways in which arch/arm64/boot/Makefile and Makefile.zboot compress."""


def by_magic(data: bytes | memoryview) -> Compression | None:
    """The compression that `data` begins with."""
    return next((each for each in COMPRESSIONS if each.magic and bytes(data[: len(each.magic)]) == each.magic), None)


def by_name(name: str) -> Compression | None:
    """The compression that the header of an EFI zboot image calls `name`."""
    return next((each for each in COMPRESSIONS if name in each.names), None)
