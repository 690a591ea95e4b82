# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a kernel's file, whatever its format, as the arm64 Image in it (Documentation/arch/arm64/booting.rst).

The formats: an Image, plain or compressed; an EFI zboot image, which has a compressed Image as its payload
(drivers/firmware/efi/libstub/zboot-header.S); and a vmlinux, the ELF that an Image is made from.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from armprobe.machine import board, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from . import elf_file
from .compression import Compression, DamagedError, by_magic, by_name
from .elf import check_identification
from .elf_file import ElfFile, Program
from .vmlinux import LINK_ALIGNMENT

_HEADER: Final = struct.Struct("<8xQQQ24x4s4x")  # text_offset, image_size, flags, magic
_MAGIC: Final = b"ARMd"
_UNPACKED: Final = 3  # a kernel may unpack to this many times its compressed size,
_UNPACKED_MORE: Final = 28 << 20  # plus this many bytes; Debian's kernels unpack to four times their compressed size
# PE format, "COFF File Header": the number of sections, the size of the optional header. "Section
# Table": the size of a section's bytes in the file, and their offset. CONFIG_EFI adds it (efi-header.S of arm64).
_PE: Final = struct.Struct("<6xH12xH2x")
_PE_SIGNATURE: Final = b"PE\0\0"
_PE_PLACE: Final = 60  # of its offset in the file, which is 0 without it
_PE_SECTION: Final = struct.Struct("<16xII16x")
_ZBOOT: Final = struct.Struct("<2s2x4sII8x32s")  # "MZ", "zimg", payload's offset and size, compression
_PAGE_SIZES: Final = {0: None, 1: 4, 2: 16, 3: 64}  # bits 2:1 of flags: KiB, None for not stated
_OLD_TEXT_OFFSET: Final = 0x8_0000  # used when image_size is 0, before Linux 3.17
_PHYSICAL_END: Final = 1 << 48  # of physical addresses: a vmlinux is linked above it


@lazy_dataclass
class KernelFile:
    """A kernel's Image and the file that it comes from.

    format: Image, compressed Image, EFI zboot or vmlinux. compression: its name, or empty. has_symbols: whether it is a
    vmlinux with a symbol table.
    """

    path: Path
    format: str
    compression: str
    image: bytes
    has_symbols: bool = False

    @property
    def text_offset(self) -> int:
        """The bytes from a multiple of 2 MiB to the Image."""
        text_offset, image_size, _, _ = _HEADER.unpack_from(self.image)
        return int(text_offset) if image_size else _OLD_TEXT_OFFSET

    @property
    def image_size(self) -> int:
        """The bytes that the kernel takes in memory, 0 if it does not say."""
        return int(_HEADER.unpack_from(self.image)[1])

    @property
    def page_size(self) -> int | None:
        """KiB of a page, None if the kernel does not say."""
        return _PAGE_SIZES[_HEADER.unpack_from(self.image)[2] >> 1 & 3]

    def check_bootable(self, memory: int) -> None:
        """Raise MachineError, one sentence, if the kernel cannot boot in `memory` bytes."""
        name = host_files.shown(self.path)
        if (end := _end_of_sections(self.image)) > len(self.image):
            raise MachineError(f"{name} is cut short: its sections end at byte {end}, and it has {len(self.image)}")
        if _HEADER.unpack_from(self.image)[2] & 1:
            raise MachineError(f"{name} is a big-endian kernel: armprobe runs little-endian ones")
        if self.page_size not in (None, 4):
            raise MachineError(
                f"{name} is built for pages of {self.page_size} KiB: armprobe runs kernels with 4 KiB pages"
            )
        if self.image_size > board.RAM_END_MAX:  # otherwise the parts after it would have no address
            raise MachineError(
                f"the kernel of {name} needs {self.image_size:,} bytes, more than the {memory >> 20} MiB of "
                "memory: give it more memory"
            )
        if self.text_offset >= LINK_ALIGNMENT:
            raise MachineError(
                f"{name} has a damaged header: text_offset is {self.text_offset:#x}, and 2 MiB is the limit"
            )


def recognise(data: bytes) -> bool:
    """Whether `read` takes the file that starts with `data` (at least 64 bytes), which is no ELF."""
    return _is_image(data) or by_magic(data) is not None or _is_zboot(data)


def recognise_vmlinux(path: Path) -> bool:
    """Whether `read` takes the ELF at `path`: one that is linked for virtual addresses and begins with an Image."""
    try:
        with host_files.open_regular(path) as file, host_files.explained("read", path):
            first = min(_loaded(ElfFile(file)), key=lambda program: program.physical)
            file.seek(first.offset)
            return first.physical >= _PHYSICAL_END and _is_image(file.read(_HEADER.size))
    except (MachineError, ValueError, struct.error, OverflowError):
        return False


def read(path: Path, limit: int) -> KernelFile:
    """The kernel in the file at `path`. Raises MachineError unless it is one, of at most `limit` bytes."""
    name = host_files.shown(path)
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        start = file.read(_HEADER.size)
        if start.startswith(elf_file.MAGIC):
            file.seek(0)
            check_identification(name, file)
            try:
                elf = ElfFile(file)
                has_symbols = any(section.type == elf_file.SHT_SYMTAB for section in elf.sections())
                return KernelFile(path, "vmlinux", "", _linked_image(elf, limit), has_symbols)
            except MachineError as error:
                raise MachineError(f"{name} {error}") from None
    if not recognise(start):
        raise MachineError(
            f"{name} {'is no arm64 kernel' if start else 'is empty'}: give an Image, which may be compressed, a "
            "vmlinuz or a vmlinux"
        )
    data = memoryview(read_whole(path, limit))
    compression, format = by_magic(data), "compressed Image"
    if _is_zboot(start):
        format = "EFI zboot"
        compression, data = _payload(name, data)
    if compression is None:
        return KernelFile(path, "Image", "", cast(bytes, data.obj))
    return KernelFile(path, format, compression.name, _decompress(name, compression, data, limit))


def read_whole(path: Path, limit: int) -> bytes:
    """The bytes of the file at `path`. Raises MachineError when it has more than the `limit`, the guest's memory."""
    with host_files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise MachineError(
            f"{host_files.shown(path)} has {size:,} bytes, more than the {limit >> 20} MiB of memory: "
            "give it more memory"
        )
    return host_files.read_file(path, limit)


def _is_image(data: bytes) -> bool:
    return len(data) >= _HEADER.size and _HEADER.unpack_from(data)[3] == _MAGIC


def _end_of_sections(image: bytes) -> int:
    """The bytes that an Image has at least by its PE header, 0 without one."""
    at = int.from_bytes(image[_PE_PLACE : _PE_PLACE + 4], "little")
    if not at or not _PE_SIGNATURE.startswith(image[at : at + len(_PE_SIGNATURE)]):
        return 0
    if (table := at + _PE.size) > len(image):
        return table
    count, optional = _PE.unpack_from(image, at)
    table += optional
    if (end := int(table + count * _PE_SECTION.size)) > len(image):
        return end
    sections = (_PE_SECTION.unpack_from(image, table + number * _PE_SECTION.size) for number in range(count))
    return max((int(offset + size) for size, offset in sections), default=0)


def _is_zboot(data: bytes) -> bool:
    return len(data) >= _ZBOOT.size and _ZBOOT.unpack_from(data)[:2] == (b"MZ", b"zimg")


def _payload(name: str, data: memoryview) -> tuple[Compression, memoryview]:
    """The compressed Image in an EFI zboot image."""
    _, _, offset, size, text = _ZBOOT.unpack_from(data)
    compression = by_name(called := text.split(b"\0")[0].decode("latin-1"))
    if compression is None:
        raise MachineError(
            f"{name} is an EFI zboot image compressed with {host_files.shown(called)}, which armprobe does "
            "not unpack: give it the kernel's plain Image"
        )
    if offset + size > len(data):
        raise MachineError(f"{name} is cut short: its payload ends at byte {offset + size}, and it has {len(data)}")
    return compression, data[offset : offset + size]


def _decompress(name: str, compression: Compression, data: memoryview, limit: int) -> bytes:
    """The Image that is compressed in `data`."""
    most = min(limit, _UNPACKED * len(data) + _UNPACKED_MORE)
    unpacked = cast(bytes, bytearray())  # it is read like bytes; a conversion would make a second copy
    try:
        for piece in compression.pieces(data):
            unpacked += piece
            if len(unpacked) >= _HEADER.size and not _is_image(unpacked):
                break
            if len(unpacked) > most:
                if most == limit:
                    raise MachineError(f"unpacks to more than the {limit >> 20} MiB of memory: give it more memory")
                raise MachineError(
                    f"unpacks to more than {most:,} bytes, which no kernel of its size does: give it unpacked"
                )
    except MachineError as error:
        raise MachineError(f"{name} {error}") from None
    except DamagedError as error:
        raise MachineError(f"{name} cannot be unpacked, so it is damaged or no kernel ({error})") from error
    except EOFError:
        raise MachineError(f"{name} is cut short: its compressed data has no end") from None
    if not _is_image(unpacked):
        raise MachineError(
            f"{name} is compressed, and what is in it is not an arm64 kernel Image: give it a kernel for arm64"
        )
    return unpacked


def _loaded(elf: ElfFile) -> Iterator[Program]:
    return (each for each in elf.programs() if each.type == elf_file.PT_LOAD and each.file_size)


def _linked_image(elf: ElfFile, limit: int) -> bytes:
    """The Image that `objcopy -O binary` makes of a vmlinux. Raises MachineError, without the file's name."""
    programs = list(_loaded(elf))
    lowest = min((program.physical for program in programs), default=0)
    size = max((program.physical + program.file_size for program in programs), default=0) - lowest
    if size > limit:
        raise MachineError(f"has an Image of {size:,} bytes, more than the {limit >> 20} MiB of memory")
    # As in `elf`: each byte of the file is loaded about once.
    if sum(program.file_size for program in programs) > elf.size + board.PAGE * len(programs):
        raise MachineError("is a damaged ELF: its segments have more bytes together than the file")
    memory = bytearray(size)
    for program in programs:
        at = program.physical - lowest
        memory[at : at + program.file_size] = elf.read(program.offset, program.file_size, "a segment")
    image = cast(bytes, memory)
    if not _is_image(image):
        raise MachineError("has no arm64 kernel: what it loads does not begin with the header of an Image")
    return image
