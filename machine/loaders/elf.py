# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads bare-metal AArch64 ELFs, which are linked for physical addresses and run without firmware or a kernel."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from armprobe.machine import board, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import MAPPING_SYMBOL, Symbols

from . import elf_file
from .elf_file import ElfFile, Program
from .guest import LoadedGuest, Segment
from .raw import board_description

MAGIC: Final = elf_file.MAGIC
DEFAULT_BASE: Final = board.RAM_BASE + 0x20_0000
"""The default address of a position-independent ELF, which is where U-Boot expects to be on such boards."""

_HEADER_SIZE: Final = 64
_MACHINES: Final = {3: "x86", 62: "x86-64", 40: "32-bit ARM", 243: "RISC-V"}  # EM_386 and so on, elf(5)
_KIND_CODES: Final = {elf_file.STT_FUNC: 0, elf_file.STT_OBJECT: 1}  # those of `Symbols.from_columns`
_OTHER_CODE: Final = 2
_NOT_PLACES: Final = (elf_file.STT_FILE, elf_file.STT_SECTION)
_NO_SECTION: Final = (elf_file.SHN_UNDEF, elf_file.SHN_ABS)
_BINDINGS_RANK: Final = {elf_file.STB_GLOBAL: 0, elf_file.STB_WEAK: 1}


def load(path: Path, *, base: int | None, memory: int) -> LoadedGuest:
    """The ELF at `path`, ready to run in `memory` bytes.

    `base` is the physical address for the lowest segment of a position-independent file. If it is None and the file's
    own addresses are not in RAM, `DEFAULT_BASE` is used. Raises MachineError when armprobe cannot run the file.
    """
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        name = host_files.shown(path)
        check_identification(name, file)
        elf = ElfFile(file)
        try:
            loaded, shift = _loaded(elf, base, memory)
        except MachineError as error:
            raise MachineError(f"{name} {error}") from None
        segments = tuple(_segment(elf, number, program, shift) for number, program in enumerate(loaded))
        end = max(program.virtual + program.memory_size for program in loaded)
        symbols, has_dwarf = Symbols(), False
        notes: tuple[str, ...] = ()
        try:
            symbols, has_dwarf = read_symbols(elf, end, shift)
        except MachineError as error:
            notes = (f"{name} {error}; so it has no symbols here",)
        tree, x0 = board_description(segments, memory)
        return LoadedGuest(
            kind="elf",
            memory=memory,
            segments=(*segments, *tree),
            entry=_physical_entry(name, elf.entry + shift, segments),
            symbols=symbols,
            sources=(path,),
            x0=x0,
            device_tree=tree[0].data if tree else b"",
            dwarf=path if has_dwarf and not shift else None,  # it has the addresses of the file
            notes=notes,
        )


def check_identification(name: str, file: BinaryIO) -> None:
    """Raise MachineError unless `file`, called `name`, begins as a 64-bit little-endian ELF for AArch64."""
    header = file.read(_HEADER_SIZE)
    if len(header) < _HEADER_SIZE:
        raise MachineError(f"{name} is cut short: an ELF header takes {_HEADER_SIZE} bytes, and it has {len(header)}")
    ei_class, ei_data = header[4:6]
    number = int.from_bytes(header[18:20], "big" if ei_data == 2 else "little")
    if number != elf_file.EM_AARCH64:
        raise MachineError(f"{name} is for {_MACHINES.get(number, f'machine {number}')}: armprobe runs AArch64")
    if ei_data == 2:
        raise MachineError(f"{name} is big-endian: armprobe runs little-endian AArch64")
    if ei_class != 2:
        raise MachineError(f"{name} is for AArch64's ILP32 ABI: armprobe runs 64-bit (LP64) ELF files")


def _loaded(elf: ElfFile, base: int | None, memory: int) -> tuple[list[Program], int]:
    """The program headers to load, and the distance in bytes by which to shift their addresses.

    Raises MachineError, without the file's name, for a file that cannot run in `memory` bytes.
    """
    if elf.type == elf_file.ET_REL:
        raise MachineError(
            "is a relocatable object or a kernel module, not a program: link it into an ELF to run it by itself"
        )
    if elf.type not in (elf_file.ET_EXEC, elf_file.ET_DYN):
        what = "ET_CORE" if elf.type == elf_file.ET_CORE else elf.type
        raise MachineError(f"is not a program (its ELF type is {what}): give armprobe a linked ELF")
    programs = elf.programs()
    if any(program.type == elf_file.PT_INTERP for program in programs):
        raise MachineError("needs a dynamic loader, which is not there on a bare machine: link it statically")
    loaded = [program for program in programs if program.type == elf_file.PT_LOAD and program.memory_size]
    if not loaded:
        raise MachineError("has nothing to load (no PT_LOAD segment of any size)")
    for program in loaded:
        end = program.offset + program.file_size
        if end > elf.size:
            raise MachineError(f"is cut short: a segment ends at byte {end}, and the file has {elf.size}")
        if program.file_size > program.memory_size:
            raise MachineError("is a damaged ELF: a segment is larger in the file than in memory")
        if program.memory_size > memory:
            raise MachineError(
                f"has a segment of {program.memory_size:,} bytes, more than the {memory >> 20} MiB of memory: "
                "give it more memory"
            )
    # Segments may share a page of the file, but no more, so that each byte of it is loaded about once.
    if sum(program.file_size for program in loaded) > elf.size + 4096 * len(loaded):
        raise MachineError("is a damaged ELF: its segments have more bytes together than the file")
    lowest = min(program.physical for program in loaded)
    if elf.type == elf_file.ET_DYN:  # position-independent
        if base is None and board.RAM_BASE <= lowest < board.RAM_BASE + memory:
            return loaded, 0
        start = DEFAULT_BASE if base is None else base
        if start % board.PAGE:
            raise MachineError(f"cannot be put at {start:#x}: the base is a multiple of {board.PAGE}")
        return loaded, start - lowest // board.PAGE * board.PAGE
    if base is not None:
        raise MachineError("is linked for fixed addresses: a base is for raw binaries and position-independent ELFs")
    if lowest >= 1 << 48:
        raise MachineError(
            f"is to be loaded at {loaded[0].physical:#x}, which is no physical address: if it is a vmlinux, "
            "give armprobe the kernel's Image (arch/arm64/boot/Image); if not, link it with a load address (AT) in RAM "
            f"(from {board.RAM_BASE:#x})"
        )
    return loaded, 0


def _segment(elf: ElfFile, number: int, program: Program, shift: int) -> Segment:
    return Segment(
        what=f"load segment {number}",
        address=program.physical + shift,
        data=elf.read(program.offset, program.file_size, "a segment"),
        size=program.memory_size,
        virtual=program.virtual + shift,
    )


def _physical_entry(name: str, entry: int, segments: tuple[Segment, ...]) -> int:
    """`entry` if it is a loaded physical address, else the physical address of the code linked at `entry`."""
    if entry % 4:
        raise MachineError(f"{name} is to be entered at {entry:#x}, which is not a multiple of 4")
    if any(segment.address <= entry < segment.end for segment in segments):
        return entry
    for segment in segments:
        if segment.virtual is not None and 0 <= entry - segment.virtual < segment.size:
            return entry - segment.virtual + segment.address
    raise MachineError(
        f"{name} is to be entered at {entry:#x}, which is in none of its segments: link it with an ENTRY"
    )


def read_symbols(elf: ElfFile, end: int = 0, shift: int = 0) -> tuple[Symbols, bool]:
    """The defined symbols of the first symbol table, moved by `shift` bytes, and whether there is debug information.

    At one address, functions come first, and global symbols before local ones. Raises MachineError, without the file's
    name, when the sections are invalid.
    """
    areas, table, has_dwarf = [], None, False
    for section in elf.sections():
        if section.flags & elf_file.SHF_ALLOC:
            areas.append((section.address + shift, section.address + section.size + shift))
        elif section.type == elf_file.SHT_SYMTAB and table is None:
            table = section
        elif not has_dwarf and elf.section_name(section) == ".debug_info":
            has_dwarf = True
    names: list[str] = []
    places, sizes, kinds, order = array("Q"), array("Q"), bytearray(), []
    for symbol in places_of(elf, table) if table is not None else ():
        kind = kind_code(symbol)
        # A single number as sort key takes a quarter of the memory of a tuple.
        order.append((symbol.value << 4 | kind << 2 | _BINDINGS_RANK.get(symbol.binding, 2)) << 32 | len(names))
        names.append(symbol.name)
        places.append(symbol.value + shift)
        sizes.append(symbol.size)
        kinds.append(kind)
    order.sort()
    rows = array("I", (number & 0xFFFF_FFFF for number in order))
    order.clear()
    return Symbols.from_columns(
        [names[row] for row in rows],
        array("Q", (places[row] for row in rows)),
        array("Q", (sizes[row] for row in rows)),
        bytes(kinds[row] for row in rows),
        end=end + shift,
        areas=areas or None,
    ), has_dwarf


def places_of(elf: ElfFile, table: elf_file.Section) -> Iterator[elf_file.Symbol]:
    """The symbols of `table` that name places in the program. Raises MachineError as `ElfFile.symbols` does."""
    for symbol in elf.symbols(table):
        if (
            symbol.type not in _NOT_PLACES
            and symbol.section not in _NO_SECTION
            and not MAPPING_SYMBOL.match(symbol.name)
        ):
            yield symbol


def kind_code(symbol: elf_file.Symbol) -> int:
    """The kind of a symbol, as in `Symbols.from_columns`."""
    return _KIND_CODES.get(symbol.type, _OTHER_CODE)
