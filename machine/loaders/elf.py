# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal AArch64 ELF: linked to be loaded at physical addresses, and entered with nothing under it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE
from elftools.elf.sections import SymbolTableSection

from armprobe.machine import board, host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.symbols import Kind, Symbol, Symbols

from .guest import LoadedGuest, Segment

MAGIC: Final = b"\x7fELF"

_HEADER_SIZE: Final = 64
_MACHINES: Final = {"EM_386": "x86", "EM_X86_64": "x86-64", "EM_ARM": "32-bit ARM", "EM_RISCV": "RISC-V"}
_KINDS: Final[dict[str, Kind]] = {"STT_FUNC": "function", "STT_OBJECT": "object"}
_KINDS_RANK: Final = {"function": 0, "object": 1, "other": 2}
_NOT_PLACES: Final = ("STT_FILE", "STT_SECTION")
_BINDINGS_RANK: Final = {"STB_GLOBAL": 0, "STB_WEAK": 1}


def load(path: Path, *, memory: int) -> LoadedGuest:
    """The ELF at `path`, ready to run in `memory` bytes.

    Raises MachineError when armprobe cannot run it.
    """
    with host_files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_identification(path, file.read(_HEADER_SIZE), size)
        try:
            return _load(path, ELFFile(file), memory, size)
        except MachineError:
            raise
        except Exception as error:  # what pyelftools raises for bytes that make no sense is of many kinds
            raise MachineError(f"{path} is a damaged ELF ({type(error).__name__} while reading it)") from error


def _check_identification(path: Path, header: bytes, size: int) -> None:
    if size < _HEADER_SIZE:
        raise MachineError(f"{path} is cut short: an ELF header takes {_HEADER_SIZE} bytes, and it has {size}")
    ei_class, ei_data = header[4:6]
    number = int.from_bytes(header[18:20], "big" if ei_data == 2 else "little")
    name = next((name for name, value in ENUM_E_MACHINE.items() if value == number), f"machine {number}")
    if name != "EM_AARCH64":
        raise MachineError(f"{path} is for {_MACHINES.get(name, name.removeprefix('EM_'))}: armprobe runs AArch64")
    if ei_data == 2:
        raise MachineError(f"{path} is big-endian: armprobe runs little-endian AArch64")
    if ei_class != 2:
        raise MachineError(f"{path} is for AArch64's ILP32 ABI: armprobe runs 64-bit (LP64) ELF files")


def _load(path: Path, elf: ELFFile, memory: int, size: int) -> LoadedGuest:
    kind = elf["e_type"]
    if kind == "ET_REL":
        raise MachineError(
            f"{path} is a relocatable object or a kernel module, not a program: link it into an ELF to run it by itself"
        )
    if kind not in ("ET_EXEC", "ET_DYN"):
        raise MachineError(f"{path} is not a program (its ELF type is {kind}): give armprobe a linked ELF")
    headers = elf["e_phoff"] + elf.num_segments() * elf["e_phentsize"]
    if headers > size:
        raise MachineError(f"{path} is cut short: its program headers end at byte {headers}, and it has {size}")
    if any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
        raise MachineError(f"{path} needs a dynamic loader, which is not there on a bare machine: link it statically")
    loaded = [s.header for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_memsz"]]
    if not loaded:
        raise MachineError(f"{path} has nothing to load (no PT_LOAD segment of any size)")
    for header in loaded:
        end = header["p_offset"] + header["p_filesz"]
        if end > size:
            raise MachineError(f"{path} is cut short: a segment ends at byte {end}, and the file has {size}")
        if header["p_filesz"] > header["p_memsz"]:
            raise MachineError(f"{path} is a damaged ELF: a segment is larger in the file than in memory")
        if header["p_memsz"] > memory:
            raise MachineError(
                f"{path} has a segment of {header['p_memsz']:,} bytes, more than the {memory >> 20} MiB of memory: "
                "give it more memory"
            )
    if min(header["p_paddr"] for header in loaded) >= 1 << 48:
        raise MachineError(
            f"{path} is to be loaded at {loaded[0]['p_paddr']:#x}, which is no physical address: if it is a vmlinux, "
            "give armprobe the kernel's Image (arch/arm64/boot/Image); if not, link it with a load address (AT) in RAM "
            f"(from {board.RAM_BASE:#x})"
        )
    segments = tuple(_segment(elf, number, header) for number, header in enumerate(loaded))
    has_dwarf = elf.get_section_by_name(".debug_info") is not None
    return LoadedGuest(
        kind="elf",
        memory=memory,
        segments=segments,
        entry=_physical_entry(path, elf["e_entry"], segments),
        symbols=Symbols(
            _symbols(elf), end=max((segment.virtual or 0) + segment.size for segment in segments), areas=_areas(elf)
        ),
        sources=(path,),
        dwarf=path if has_dwarf else None,
    )


def _segment(elf: ELFFile, number: int, header: Any) -> Segment:
    elf.stream.seek(header["p_offset"])
    return Segment(
        what=f"load segment {number}",
        address=header["p_paddr"],
        data=elf.stream.read(header["p_filesz"]),
        size=header["p_memsz"],
        virtual=header["p_vaddr"],
    )


def _physical_entry(path: Path, entry: int, segments: tuple[Segment, ...]) -> int:
    """`entry` if it is in a segment where that is loaded, else where what is linked at `entry` is loaded."""
    if entry % 4:
        raise MachineError(f"{path} is to be entered at {entry:#x}, which is not a multiple of 4")
    if any(segment.address <= entry < segment.end for segment in segments):
        return entry
    for segment in segments:
        if segment.virtual is not None and 0 <= entry - segment.virtual < segment.size:
            return entry - segment.virtual + segment.address
    raise MachineError(
        f"{path} is to be entered at {entry:#x}, which is in none of its segments: link it with an ENTRY"
    )


def _areas(elf: ELFFile) -> list[tuple[int, int]] | None:
    """Where the sections begin and end that are in memory; None if the file has none."""
    headers = [section.header for section in elf.iter_sections() if section["sh_flags"] & SH_FLAGS.SHF_ALLOC]
    return [(header["sh_addr"], header["sh_addr"] + header["sh_size"]) for header in headers] or None


def _symbols(elf: ELFFile) -> list[Symbol]:
    """The defined symbols of .symtab; of those at one address functions first, and global ones before local ones."""
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return []
    rows = []
    for entry in table.iter_symbols():
        info, kind = entry["st_info"], _KINDS.get(entry["st_info"]["type"], "other")
        if entry.name and info["type"] not in _NOT_PLACES and entry["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS"):
            rank = _KINDS_RANK[kind], _BINDINGS_RANK.get(info["bind"], 2)
            rows.append((rank, Symbol(entry.name, entry["st_value"], entry["st_size"], kind)))
    rows.sort(key=lambda row: row[0])
    return [symbol for _, symbol in rows]
