# SPDX-License-Identifier: GPL-2.0-or-later
"""The ELF made of a guest's symbols: what pyelftools and readelf read in it is what went in."""

import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine import Machine, Symbol, Symbols
from armprobe.machine.loaders import read_guest
from armprobe.machine.symbols import Kind
from armprobe.session.symbol_file import SymbolSources, symbol_file

Tool = Callable[[str, str], str]

TEXT = 0xFFFF_8000_0801_0000
FLAGS = {".text": 2 | 4, ".data": 2 | 1}  # SHF_ALLOC and SHF_EXECINSTR, SHF_ALLOC and SHF_WRITE
TYPES = {"STT_FUNC": "function", "STT_OBJECT": "object", "STT_NOTYPE": "other"}
DEMO_GUEST = read_guest("demo")
MACHINE = Machine(replace(DEMO_GUEST, dwarf=None))
KERNEL = [  # as kallsyms has it: no sizes, names that are not unique, code after data
    *(("_stext", TEXT, "T"), ("vectors", TEXT, "t"), ("init", TEXT + 0x100, "t"), ("kfree", TEXT + 0x180, "T")),
    *(("_etext", TEXT + 0x1_0000, "R"), ("banner", TEXT + 0x1_0010, "r"), ("version", TEXT + 0x1_0100, "A")),
    *(("init", TEXT + 0x10_0000, "t"), ("start_kernel", TEXT + 0x10_0040, "T"), ("_einittext", TEXT + 0x11_0000, "T")),
    *(("jiffies", TEXT + 0x20_0000, "D"), ("_end", TEXT + 0x21_0000, "B")),
]


def made_of(symbols: Symbols) -> bytes:
    """The file for a guest with these symbols."""
    MACHINE.symbols = symbols
    return symbol_file(SymbolSources.of(MACHINE))


def read(data: bytes) -> tuple[list[tuple[Symbol, Section]], list[Section]]:
    """The symbols in a file, each with its section, and the sections that take part of the address space."""
    elf = ELFFile(io.BytesIO(data))
    assert (elf["e_type"], elf["e_machine"], elf.elfclass, elf.little_endian) == ("ET_EXEC", "EM_AARCH64", 64, True)
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    null, *entries = table.iter_symbols()
    assert (null.name, null["st_value"], null["st_shndx"]) == ("", 0, "SHN_UNDEF")
    assert {entry["st_info"]["bind"] for entry in entries} <= {"STB_GLOBAL"}
    kinds: list[Kind] = [TYPES[entry["st_info"]["type"]] for entry in entries]  # type: ignore[misc]
    symbols = [
        (Symbol(entry.name, entry["st_value"], entry["st_size"], kind), elf.get_section(entry["st_shndx"]))
        for entry, kind in zip(entries, kinds, strict=True)
    ]
    placed = [section for section in elf.iter_sections() if section["sh_flags"]]
    assert all(s["sh_type"] == "SHT_NOBITS" and s["sh_flags"] == FLAGS[s.name] for s in placed)
    assert all(one["sh_addr"] + one["sh_size"] <= other["sh_addr"] for one, other in pairwise(placed))
    return symbols, placed


def test_symbols_are_kept() -> None:
    symbols = Symbols.from_kallsyms(KERNEL)
    found, _ = read(made_of(symbols))
    assert [symbol.name for symbol, _ in found] == [name for name, _, _ in KERNEL]
    ends = {"_etext", "_einittext"}  # by the kernel's linker script they are where code ends, and have no size
    assert [symbol for symbol, _ in found] == [
        replace(symbol, size=1) if symbol.name in ends else symbol for symbol in symbols
    ]


def test_an_end_where_something_begins_keeps_its_size() -> None:
    """gdb takes the last of several symbols at an address, and the size of that."""
    rows = ("f", TEXT, "T"), ("__idmap_text_end", TEXT + 16, "T"), ("g", TEXT + 16, "T"), ("_etext", TEXT + 32, "T")
    found, _ = read(made_of(Symbols.from_kallsyms(rows, end=TEXT + 64)))
    assert [symbol.size for symbol, _ in found] == [16, 16, 16, 1]


def test_the_entry_point_is_in_the_largest_part_of_the_code() -> None:
    """gdb 18 calls no functions without one in a section (gdb/symfile.c, init_entry_point_info)."""
    user = ("start", 0x40_0000, "T"), ("end", 0x40_0010, "D")
    assert ELFFile(io.BytesIO(made_of(Symbols.from_kallsyms([*user, *KERNEL]))))["e_entry"] == TEXT + 0x10_0000
    assert ELFFile(io.BytesIO(made_of(Symbols.from_kallsyms(KERNEL[4:6]))))["e_entry"] == 0


def test_symbols_are_in_sections_of_their_kind() -> None:
    found, placed = read(made_of(Symbols.from_kallsyms(KERNEL)))
    assert [(section.name, section["sh_addr"] - TEXT, section["sh_size"]) for section in placed] == [
        (".text", 0, 0x1_0000),
        (".data", 0x1_0000, 0xF_0000),
        (".text", 0x10_0000, 0x10_0000),
        (".data", 0x20_0000, 0x1_0000),
    ]
    names = {symbol.address: section.name for symbol, section in found}
    assert names[TEXT + 0x180] == names[TEXT + 0x10_0040] == ".text"
    assert names[TEXT + 0x1_0010] == names[TEXT + 0x1_0100] == names[TEXT + 0x20_0000] == ".data"
    for symbol, section in found:
        assert 0 <= symbol.address - section["sh_addr"] <= section["sh_size"]


def test_nothing_is_said_of_what_lies_between() -> None:
    """User and kernel space, for one; padding between functions is no such hole."""
    apart = [0x40_0000, 0x40_0100, 0x40_0FFF, 0x40_3000, TEXT]
    _, placed = read(made_of(Symbols((Symbol("f", address, 16, "function") for address in apart), end=TEXT + 4)))
    assert [(s["sh_addr"], s["sh_size"]) for s in placed] == [(0x40_0000, 0x100F), (0x40_3000, 16), (TEXT, 16)]
    _, placed = read(made_of(Symbols.from_kallsyms([("user", 0x40_0000, "t"), ("kernel", TEXT, "t")])))
    assert [(s["sh_addr"], s["sh_size"]) for s in placed] == [(0x40_0000, 0), (TEXT, 0)]


def test_readelf_finds_nothing_wrong(tool: Tool, tmp_path: Path) -> None:
    readelf = tool("aarch64-linux-gnu-readelf", "binutils-aarch64-linux-gnu")
    for symbols in (Symbols.from_kallsyms(KERNEL), DEMO_GUEST.symbols):
        path = tmp_path / "symbols.elf"
        path.write_bytes(made_of(symbols))
        run = subprocess.run(
            [readelf, "--all", "--wide", "--debug-dump=frames", path], capture_output=True, text=True, check=True
        )
        assert run.stderr == ""
        assert "Warning" not in run.stdout
        assert f"contains {len(symbols) + 1} entries" in run.stdout


def size_of_frames(data: bytes) -> int:
    """In bytes."""
    section = ELFFile(io.BytesIO(data)).get_section_by_name(".debug_frame")
    assert section
    return int(section["sh_size"])


def test_the_code_is_the_files_until_it_is_in_memory() -> None:
    """A guest that has not started has no page tables by which to read its functions."""
    assert size_of_frames(made_of(DEMO_GUEST.symbols)) > 2000
    resumed = Machine(replace(DEMO_GUEST, dwarf=None, segments=()))
    assert size_of_frames(symbol_file(SymbolSources.of(resumed))) < 150
    running = Machine(replace(DEMO_GUEST, dwarf=None))
    running.run(until="kfree")
    running.guest = resumed.guest
    assert symbol_file(SymbolSources.of(running)) == made_of(DEMO_GUEST.symbols)


def test_names_of_all_kinds() -> None:
    names = ["naïve", "$x.not", "a" * 5000, "with space", "_ZN4core3fmtE", "\udcff"]
    found, _ = read(made_of(Symbols.from_kallsyms((name, TEXT + 4 * i, "t") for i, name in enumerate(names))))
    assert [symbol.name for symbol, _ in found][:-1] == names[:-1]


def test_no_symbols() -> None:
    assert read(made_of(Symbols())) == ([], [])


@given(
    st.lists(
        st.builds(
            Symbol,
            name=st.sampled_from("abc"),
            address=st.integers(0, 40) | st.integers(0, (1 << 64) - 1),
            size=st.integers(0, 40) | st.integers(0, (1 << 64) - 1),
            kind=st.sampled_from(["function", "object", "other"]),
        ),
        max_size=30,
    )
)
def test_any_table_makes_a_file(symbols: list[Symbol]) -> None:
    """However little sense it makes."""
    table = Symbols(symbols)
    found, _ = read(made_of(table))
    assert [symbol for symbol, _ in found] == list(table)


def test_more_regions_than_an_elf_has_sections() -> None:
    """0xff00 numbers of sections are reserved (System V ABI, "Special Sections")."""
    letters = "td"
    elf = ELFFile(
        io.BytesIO(made_of(Symbols.from_kallsyms((f"s{i}", TEXT + 4 * i, letters[i % 2]) for i in range(70_000))))
    )
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    assert table.num_symbols() == 70_001
    assert [section.name for section in elf.iter_sections() if section["sh_flags"]] == [".text"]


def test_making_it_takes_as_much_for_each_symbol() -> None:
    """A distribution's kernel has 45,000."""

    def calls(count: int) -> int:
        made = Counter[str]()
        symbols = Symbols.from_kallsyms((f"function_{i}", TEXT + 64 * i, "t") for i in range(count))
        sys.setprofile(lambda frame, event, argument: made.update([event]))
        try:
            made_of(symbols)
        finally:
            sys.setprofile(None)
        return made.total()

    calls(1)  # what is made once
    assert calls(8000) <= 8 * calls(1000)
