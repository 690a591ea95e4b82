# SPDX-License-Identifier: GPL-2.0-or-later
"""A vmlinux: the ELF that a kernel's Image is made from, with symbols and debug information for that kernel.

Functions keep their names in the kernel's own kallsyms, by which kprobes finds them. The names of data, which kallsyms
leaves out without CONFIG_KALLSYMS_ALL, come from the vmlinux. For a kernel without kallsyms, all names do.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

from armprobe.machine import board, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.loaders import elf_file
from armprobe.machine.loaders.elf_file import ElfFile, Section
from armprobe.machine.symbols import Symbols

from .elf import check_identification, kind_code, places_of, read_symbols

KERNEL_AT: Final = board.RAM_BASE + 0x20_0000
"""The physical address at which an Image is loaded, without its text_offset."""
LINK_ALIGNMENT: Final = 0x20_0000
"""An Image is linked at text_offset above a multiple of this (asm/memory.h)."""

_TEXT: Final = "_text"  # the symbol of the Image's first byte (arch/arm64/kernel/vmlinux.lds.S)
_ADVICE: Final = "give the one that was made together with the guest's Image"
_LARGEST_NOTES: Final = 64 << 10  # bytes; Debian's kernels have about a hundred


@lazy_dataclass
class Vmlinux:
    """A kernel's symbols and debug information, from its kallsyms and its vmlinux together."""

    symbols: Symbols
    dwarf: Path | None
    """The vmlinux, if it has debug information."""
    notes: tuple[str, ...]
    """Messages for the user, one sentence each."""


def read(path: str | Path, kallsyms: Symbols, image: Callable[[int], bytes | memoryview] | None) -> Vmlinux:
    """Read the vmlinux at `path` of a kernel whose own symbols are `kallsyms`.

    `image(text)` returns the kernel's bytes, the first of which is linked at virtual address `text`; it is None where
    they come from this file. Raises MachineError, one sentence, if the file is no vmlinux or belongs to another kernel.
    """
    name = host_files.shown(path)
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        if file.read(len(elf_file.MAGIC)) != elf_file.MAGIC:
            raise MachineError(f"{name} is no ELF: give the file vmlinux that the kernel's Image is made from")
        file.seek(0)
        check_identification(name, file)
        try:
            elf = ElfFile(file)
            if elf.type not in (elf_file.ET_EXEC, elf_file.ET_DYN):
                raise MachineError("is no linked kernel: give the file vmlinux that the kernel's Image is made from")
            sections = list(elf.sections())
            table = _Table(elf, sections, kallsyms)
            if image is not None:
                _check_kernel(elf, sections, table, image)
            has_dwarf = any(elf.section_name(section) == ".debug_info" for section in sections)
            symbols = table.added_to(kallsyms) if len(kallsyms) else read_symbols(elf)[0]
        except MachineError as error:
            raise MachineError(f"{name} {error}") from None
    if has_dwarf:
        return Vmlinux(symbols, Path(path).resolve(), ())
    return Vmlinux(symbols, None, (f"{name} has no debug information, which CONFIG_DEBUG_INFO gives it, only symbols",))


def in_ram(ram: memoryview) -> Callable[[int], memoryview]:
    """The `image` function for a kernel that was loaded into `ram`."""
    return lambda text: ram[KERNEL_AT - board.RAM_BASE + text % LINK_ALIGNMENT :]


class _Table:
    """The symbol table of a vmlinux, compared with the kernel's own kallsyms."""

    def __init__(self, elf: ElfFile, sections: list[Section], kallsyms: Symbols) -> None:
        """Raises MachineError, without the file's name, if the file has no symbols or is damaged."""
        self.text: int | None = None
        self.agreeing = 0  # the number of code symbols that kallsyms has at the same address
        self.differing = ""  # the first code symbol that kallsyms has at another address
        self._names: list[str] = []
        self._columns = array("Q"), array("Q"), bytearray()
        table = next((section for section in sections if section.type == elf_file.SHT_SYMTAB), None)
        if table is None:
            raise MachineError("has no symbols: give the vmlinux that is not stripped")
        is_code = [bool(section.flags & elf_file.SHF_EXECINSTR) for section in sections]
        addresses, sizes, kinds = self._columns
        for symbol in places_of(elf, table):
            if symbol.name == _TEXT:
                self.text = symbol.value
            if symbol.section < len(is_code) and is_code[symbol.section]:
                self._compare(symbol, kallsyms)
            elif symbol.type == elf_file.STT_OBJECT or symbol.binding == elf_file.STB_GLOBAL:
                self._names.append(symbol.name)
                addresses.append(symbol.value)
                sizes.append(symbol.size)
                kinds.append(kind_code(symbol))

    def _compare(self, symbol: elf_file.Symbol, kallsyms: Symbols) -> None:
        named = kallsyms.named(symbol.name)
        if any(each.address == symbol.value for each in named):
            self.agreeing += 1
        elif named and not self.differing:
            self.differing = f"{symbol.name} at {symbol.value:#x}, and the guest at {named[0].address:#x}"

    def added_to(self, kallsyms: Symbols) -> Symbols:
        """`kallsyms` with data and the global labels outside code: what CONFIG_KALLSYMS_ALL would give it."""
        return kallsyms.with_more(self._names, *self._columns)


def _check_kernel(
    elf: ElfFile, sections: list[Section], table: _Table, image: Callable[[int], bytes | memoryview]
) -> None:
    """Raise MachineError, without the file's name, unless the file belongs to the kernel in `image`.

    It compares the build ID with the one in the notes in the kernel's memory or, without one, the symbols' addresses.
    """
    if table.text is None:
        raise MachineError(f"is no vmlinux: it has no symbol {_TEXT}, where a kernel begins")
    kernel = image(table.text)
    notes = [
        section for section in sections if section.type == elf_file.SHT_NOTE and section.flags & elf_file.SHF_ALLOC
    ]
    if sum(section.size for section in notes) > _LARGEST_NOTES:
        raise MachineError(f"is a damaged ELF: its notes have more than {_LARGEST_NOTES:,} bytes")
    for section in notes:
        at = section.address - table.text
        if at < 0 or bytes(kernel[at : at + section.size]) != elf.content(section):
            raise MachineError(f"is the vmlinux of another kernel: its build ID is not the guest's; {_ADVICE}")
    if not notes and table.differing:
        raise MachineError(f"is the vmlinux of another kernel: it has {table.differing}; {_ADVICE}")
    if not notes and not table.agreeing:
        raise MachineError(
            "may be the vmlinux of any kernel: it has no build ID, and the guest no kallsyms to compare it with; link "
            "the kernel with --build-id"
        )
