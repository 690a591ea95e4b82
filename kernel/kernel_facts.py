# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be known of a kernel, from its file, without booting it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.loaders import kernel_file
from armprobe.machine.loaders.elf import read_symbols
from armprobe.machine.loaders.elf_file import ElfFile
from armprobe.machine.loaders.image import COMMAND_LINE, lay_out
from armprobe.machine.loaders.kernel_file import KernelFile

from . import kallsyms
from .btf import Btf
from .btf_kinds import MAGIC
from .version import banner_in

_CONFIG_START: Final = b"IKCFG_ST\x1f\x8b"  # kernel/configs.c, and the magic of gzip
_LONGEST_CONFIG: Final = 4 << 20  # bytes; Debian's have 300 KB
_EMPTY_INITRAMFS: Final = 512  # bytes; usr/default_cpio_list has /dev, /dev/console and /root
_BANNER_NAME: Final = "linux_banner"  # data that every kernel has (init/version.c)
_DATA: Final = frozenset("dDbBrR")  # nm(1)


@lazy_dataclass
class Finding:
    """Something that a kernel has or has not. known: None where its file does not say. detail: what, or why not."""

    what: str
    known: bool | None
    detail: str


@lazy_dataclass
class KernelFacts:
    """A kernel's file, whether armprobe can boot it, and what it will know of the kernel.

    reason: why it cannot be booted, one sentence; empty if it can. format: Image, compressed Image, EFI zboot, vmlinux,
    or empty for a file that is no kernel; the rest is empty then. compression: its name, or empty. version: the
    kernel's banner, or empty. page_size: KiB, None if the kernel does not say. image_size: bytes of the Image.
    """

    file: str
    bootable: bool
    reason: str
    format: str
    compression: str
    version: str
    page_size: int | None
    image_size: int
    findings: tuple[Finding, ...]


def examine(path: Path, memory: int) -> KernelFacts:
    """The facts of the kernel at `path`, for a guest with `memory` bytes. Raises MachineError if it cannot be read."""
    name = host_files.shown(path)
    with host_files.open_regular(path):
        pass
    try:
        file = kernel_file.read(path, memory)
    except MachineError as error:
        return KernelFacts(name, False, str(error), "", "", "", None, 0, ())
    reason, has_dwarf = "", False
    try:
        guest = lay_out(file, initrd=None, vmlinux=None, command_line=COMMAND_LINE, memory=memory)
        has_dwarf = guest.dwarf is not None
    except MachineError as error:
        reason = str(error)
    return KernelFacts(
        name,
        not reason,
        reason,
        file.format,
        file.compression,
        banner_in(file.image),
        file.page_size,
        len(file.image),
        _findings(file, has_dwarf),
    )


def _linked_places(file: KernelFile) -> dict[str, int]:
    """The addresses in a vmlinux's own symbol table, by name; empty for other files."""
    if not file.has_symbols:
        return {}
    try:
        with host_files.open_regular(file.path) as opened, host_files.explained("read", file.path):
            return {symbol.name: symbol.address for symbol in read_symbols(ElfFile(opened))[0]}
    except MachineError:
        return {}


def _findings(file: KernelFile, has_dwarf: bool) -> tuple[Finding, ...]:
    try:
        rows = kallsyms.read(file.image)
        why = ""
    except MachineError as error:
        rows, why = [], str(error)
    linked = _linked_places(file)
    places = linked | {name: address for name, address, _ in rows}
    config = _config(file.image)
    return (
        Finding("symbols", bool(rows), f"{len(rows):,} names in kallsyms" if rows else why),
        _data_symbols(rows, linked),
        _types(file.image),
        _debug_information(file, has_dwarf),
        _kprobes(places, config),
        _initramfs(file.image, places, config),
        Finding("configuration", True, f"{len(config):,} options are set")
        if config
        else Finding("configuration", False, "there is none (CONFIG_IKCONFIG adds it)"),
    )


def _data_symbols(rows: list[tuple[str, int, str]], linked: Mapping[str, int]) -> Finding:
    if any(name == _BANNER_NAME for name, _, _ in rows):
        count = sum(letter in _DATA for _, _, letter in rows)
        return Finding("names of data", True, f"{count:,} in kallsyms (CONFIG_KALLSYMS_ALL)")
    if _BANNER_NAME in linked:
        return Finding("names of data", True, "from the symbol table of this vmlinux")
    why = "kallsyms has functions only (CONFIG_KALLSYMS_ALL is off)" if rows else "there is no kallsyms"
    return Finding("names of data", False, f"{why}: --vmlinux FILE adds them")


def _types(image: bytes) -> Finding:
    at = image.find(MAGIC)
    if at < 0:
        return Finding(
            "types", False, "there is no BTF (CONFIG_DEBUG_INFO_BTF adds it): --vmlinux FILE with DWARF has types"
        )
    try:
        return Finding("types", True, f"{len(Btf.at(image, at).offsets) - 1:,} in BTF")
    except MachineError as error:
        return Finding("types", False, str(error))


def _debug_information(file: KernelFile, has_dwarf: bool) -> Finding:
    if has_dwarf:
        return Finding("source lines", True, "from the DWARF of this vmlinux")
    if file.format == "vmlinux":
        return Finding("source lines", False, "this vmlinux has no DWARF (CONFIG_DEBUG_INFO is off, or it is stripped)")
    return Finding("source lines", False, "an Image has no DWARF: --vmlinux FILE adds it")


def _kprobes(places: Mapping[str, int], config: Mapping[str, str]) -> Finding:
    if not places and not config:
        return Finding("CONFIG_KPROBES", None, "the kernel has neither symbols nor its configuration to tell")
    if "register_kprobe" in places or config.get("CONFIG_KPROBES") == "y":
        return Finding("CONFIG_KPROBES", True, "the guest can set kprobes of its own, too")
    return Finding("CONFIG_KPROBES", False, "the guest cannot set kprobes of its own; armprobe's do not need it")


def _initramfs(image: bytes, places: Mapping[str, int], config: Mapping[str, str]) -> Finding:
    """That in the Image: usr/initramfs_data.S has its size as 8 bytes at __initramfs_size."""
    what = "built-in initramfs"
    start, place = places.get("_text"), places.get("__initramfs_size")
    if start is not None and place is not None and 0 <= place - start <= len(image) - 8:
        size = int.from_bytes(image[place - start : place - start + 8], "little")
        if size > _EMPTY_INITRAMFS:
            return Finding(what, True, f"{size:,} bytes")
        return Finding(what, False, f"the usual one without an init ({size} bytes): --initrd FILE gives it one")
    if (source := config.get("CONFIG_INITRAMFS_SOURCE")) is not None:
        empty = source == '""'
        return Finding(what, not empty, "CONFIG_INITRAMFS_SOURCE is empty" if empty else f"made from {source}")
    return Finding(what, None, "only the names of data or the kernel's configuration would tell")


def _config(image: bytes) -> dict[str, str]:
    """The options that are set, by their names; empty if the kernel does not carry them."""
    at = image.find(_CONFIG_START)
    if at < 0:
        return {}
    unpacker = zlib.decompressobj(wbits=31)
    try:
        at += len(_CONFIG_START) - 2
        text = unpacker.decompress(image[at : at + _LONGEST_CONFIG], _LONGEST_CONFIG)
    except zlib.error:
        return {}
    lines = text.decode("ascii", "backslashreplace").splitlines()
    options = (line.partition("=") for line in lines if line.startswith("CONFIG_"))
    return {name: value for name, equals, value in options if equals}
