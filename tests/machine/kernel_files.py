# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of kernels made here: an Image that loops, and what it is packed in."""

import struct

import lz4.block


def header(text_offset: int = 0, image_size: int = 0x10_0000, flags: int = 0b1010) -> bytes:
    """The 64 bytes that booting.rst gives: two instructions, three numbers, reserved, the magic, reserved."""
    return struct.pack("<IIQQQQQQ4sI", 0x14000000, 0, text_offset, image_size, flags, 0, 0, 0, b"ARMd", 0)


IMAGE = header() + bytes(range(256)) * 256


def with_sections(*sections: tuple[int, int]) -> bytes:
    """An Image whose PE header (the PE format, "COFF File Header") has sections with these sizes and offsets."""
    table = [struct.pack("<8sIIIIIIHHI", b".text", size, at, size, at, 0, 0, 0, 0, 0) for size, at in sections]
    start = (
        header()[:-4]
        + struct.pack("<I", 64)
        + struct.pack("<4sHHIIIHH", b"PE\0\0", 0xAA64, len(table), 0, 0, 0, 160, 0)
    )
    return (start + bytes(160) + b"".join(table)).ljust(0x1000, b"\0")


def zboot(payload: bytes, compression: bytes, size: int | None = None) -> bytes:
    """drivers/firmware/efi/libstub/zboot-header.S: MZ, zimg, where the payload is, its size, reserved, compression."""
    size = len(payload) if size is None else size
    return struct.pack("<HH4sIIQ32s8x", 0x5A4D, 0, b"zimg", 0x400, size, 0, compression).ljust(0x400, b"\0") + payload


def with_size(packed: bytes) -> bytes:
    """scripts/Makefile.lib, size_append: all but gzip have the unpacked size behind them."""
    return packed + struct.pack("<I", len(IMAGE))


def lz4_legacy(*blocks: bytes) -> bytes:
    """lz4_Frame_format.md: the legacy frame."""
    packed = [lz4.block.compress(block, store_size=False) for block in blocks]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(each)) + each for each in packed)
