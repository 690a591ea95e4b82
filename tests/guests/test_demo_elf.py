# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demo kernel's ELF file promises to loaders, to kprobes and to debuggers."""

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import capstone
import pytest
from elftools.elf.elffile import ELFFile

Symbols = dict[str, Any]
"""Name -> (address, size, kind)."""

PAGE_OFFSET, PHYS_OFFSET = 0xFFFF_8000_0000_0000, 0x4000_0000
WRITE, EXECUTE = 2, 1

FIRST_INSTRUCTION = {
    "pcrel_adr": "adr",
    "pcrel_adrp": "adrp",
    "pcrel_ldr_literal": "ldr",
    "pcrel_ldr_literal_w": "ldr",
    "pcrel_ldrsw_literal": "ldrsw",
    "pcrel_b": "b",
    "pcrel_bl": "bl",
    "pcrel_bcond": "b.hs",
    "pcrel_cbz": "cbz",
    "pcrel_cbnz": "cbnz",
    "pcrel_tbz": "tbz",
    "pcrel_tbnz": "tbnz",
    "pcrel_ret": "ret",
    "pcrel_br": "br",
    "pcrel_blr": "blr",
    "pcrel_blr_x30": "blr",
    "insn_mrs_daif": "mrs",
    "insn_msr_daifclr": "msr",
    "insn_yield": "yield",
    "insn_prfm_literal": "prfm",
    "insn_ldxr": "ldxr",
    "insn_nop": "nop",
    "pac_sum": "paciasp",
    "bti_mix": "bti",
}

SECTIONS_OF = {
    "entry_text": ["vectors", "el1h_64_sync", "el1h_64_irq", "el0t_64_sync", "ret_to_user", "cpu_switch_to"],
    "irqentry_text": ["gic_handle_irq"],
    "kprobes_text": ["kprobes_text_mix", "brk_handler"],
    "idmap_text": ["__enable_mmu"],
}
"""Functions that must lie between the symbols __<name>_start and __<name>_end."""


def read(elf: ELFFile, address: int, size: int) -> bytes:
    """What the file has at a virtual address."""
    for segment in elf.iter_segments("PT_LOAD"):
        offset = address - segment["p_vaddr"]
        if 0 <= offset <= segment["p_filesz"] - size:
            return bytes(segment.data()[offset : offset + size])
    raise AssertionError(f"{address:#x} is in no segment")


def first_instruction(elf: ELFFile, address: int) -> capstone.CsInsn:
    """The instruction at a virtual address."""
    return next(capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM).disasm(read(elf, address, 4), address))


def test_segments_are_placed_in_ram_and_none_is_writable_and_executable(elf: ELFFile) -> None:
    segments = list(elf.iter_segments("PT_LOAD"))
    kernel = [segment for segment in segments if segment["p_vaddr"] >= PAGE_OFFSET]
    assert [segment["p_flags"] & (WRITE | EXECUTE) for segment in kernel] == [EXECUTE, 0, WRITE]
    for segment in kernel:
        assert segment["p_paddr"] == segment["p_vaddr"] - PAGE_OFFSET + PHYS_OFFSET
    (user,) = [segment for segment in segments if segment["p_vaddr"] < PAGE_OFFSET]
    assert (user["p_vaddr"], user["p_memsz"], user["p_flags"] & (WRITE | EXECUTE)) == (0x400000, 0x1000, EXECUTE)
    in_ram = sorted((segment["p_paddr"], segment["p_paddr"] + segment["p_memsz"]) for segment in segments)
    assert all(before[1] <= after[0] for before, after in pairwise(in_ram))


def test_the_entry_is_the_physical_address_of_start(elf: ELFFile, symbols: Symbols) -> None:
    """Which is in a section, or gdb 17 and later call no functions."""
    entry = elf.header["e_entry"]
    assert entry == symbols["_start"][0] - PAGE_OFFSET + PHYS_OFFSET == 0x40080000
    places = [(section["sh_addr"], section["sh_size"]) for section in elf.iter_sections() if section["sh_flags"] & 2]
    assert any(start <= entry < start + size for start, size in places)


def test_functions_have_sizes_and_do_not_overlap(symbols: Symbols) -> None:
    functions = sorted((address, size, name) for name, (address, size, kind) in symbols.items() if kind == "STT_FUNC")
    assert {"kmalloc", "kfree", "strlen", "fib", "spin_lock", "sys_write", "demo_idle", "machine_power_off"} <= {
        name for _, _, name in functions
    }
    for (address, size, name), (after, _, other) in pairwise(functions):
        assert size > 0, name
        assert address + size <= after, (name, other)


def test_all_text_belongs_to_functions(elf: ELFFile, symbols: Symbols) -> None:
    """What is between the functions of .text is padding: NOPs, and zeros."""
    text = elf.get_section_by_name(".text")
    assert text is not None
    content = bytearray(text.data())
    for address, size, kind in symbols.values():
        offset = address - text["sh_addr"]
        if kind == "STT_FUNC" and 0 <= offset < len(content):
            content[offset : offset + size] = bytes(size)
    words = {word for (word,) in struct.iter_unpack("<I", content)}
    # the rest is the literals that pcrel.S reads from outside its functions
    assert words <= {0, 0xD503201F, 0x89ABCDEF, 0x01234567}


@pytest.mark.parametrize(("name", "mnemonic"), FIRST_INSTRUCTION.items())
def test_first_instruction(elf: ELFFile, symbols: Symbols, name: str, mnemonic: str) -> None:
    assert first_instruction(elf, symbols[name][0]).mnemonic == mnemonic


@pytest.mark.parametrize("area", SECTIONS_OF)
def test_text_that_may_not_be_probed_is_between_its_symbols(symbols: Symbols, area: str) -> None:
    start, end = symbols[f"__{area}_start"][0], symbols[f"__{area}_end"][0]
    for name in SECTIONS_OF[area]:
        address, size, _ = symbols[name]
        assert start <= address < address + size <= end, name
    for name in ("kmalloc", "nokprobe_symbol_mix", "tick_periodic"):
        assert not start <= symbols[name][0] < end, name


def test_blacklist_names_functions(elf: ELFFile, symbols: Symbols) -> None:
    start, end = symbols["__start_kprobe_blacklist"][0], symbols["__stop_kprobe_blacklist"][0]
    listed = {address for (address,) in struct.iter_unpack("<Q", read(elf, start, end - start))}
    assert listed == {symbols["cpu_switch_to"][0], symbols["nokprobe_symbol_mix"][0]}


def test_exception_table_points_at_accesses(elf: ELFFile, symbols: Symbols) -> None:
    """struct exception_table_entry {int insn, fixup; short type, data;}, both addresses relative to themselves."""
    start, end = symbols["__start___ex_table"][0], symbols["__stop___ex_table"][0]
    found = {}
    for number, (insn, fixup, kind, data) in enumerate(struct.iter_unpack("<iihh", read(elf, start, end - start))):
        entry = start + 12 * number
        (name,) = [
            name
            for name, (address, size, _) in symbols.items()
            if address <= entry + insn < address + size and address <= entry + 4 + fixup < address + size
        ]
        found[name] = (first_instruction(elf, entry + insn).mnemonic, kind, data & 31, data >> 5 & 31)
    assert found == {
        "__arch_copy_from_user": ("ldtrb", 2, 31, 31),
        "__arch_copy_to_user": ("sttrb", 2, 31, 31),
        "probe_read": ("ldrb", 3, 4, 3),
    }


def test_debug_information_describes_every_source(demo: Path, elf: ELFFile) -> None:
    units = {unit.get_top_DIE().attributes["DW_AT_name"].value.decode() for unit in elf.get_dwarf_info().iter_CUs()}
    sources = {str(file.relative_to(demo)) for file in demo.rglob("*.[cS]")}
    assert units == sources


def test_debug_information_gives_prototypes(elf: ELFFile) -> None:
    prototypes = {}
    for unit in elf.get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            name = die.attributes.get("DW_AT_name")
            if die.tag == "DW_TAG_subprogram" and name is not None:
                prototypes[name.value.decode()] = [
                    child.attributes["DW_AT_name"].value.decode()
                    for child in die.iter_children()
                    if child.tag == "DW_TAG_formal_parameter" and "DW_AT_name" in child.attributes
                ]
    assert prototypes["kmalloc"] == ["size", "flags"]
    assert prototypes["kfree"] == ["p"]
    assert prototypes["fib"] == ["n"]
    assert prototypes["sys_write"] == ["fd", "buf", "count"]
