# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests read from files: what binutils says of the same file, where booting.rst wants a kernel, and every refusal."""

import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fdt
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine import board
from armprobe.machine.errors import MachineError
from armprobe.machine.loaders import DEMO, LoadedGuest, parse_size, read_guest
from tests.machine.kernel_files import IMAGE, header

Tool = Callable[[str, str], str]
MIB = 1 << 20
ELF = DEMO.read_bytes()

# Offsets in an ELF header and in a program header (elf(5)).
E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_PHENTSIZE = 16, 18, 24, 32, 54
P_TYPE, P_OFFSET, P_VADDR, P_PADDR, P_FILESZ, P_MEMSZ = 0, 8, 16, 24, 32, 40
PHOFF: int = struct.unpack_from("<Q", ELF, E_PHOFF)[0]
PHENTSIZE: int = struct.unpack_from("<H", ELF, E_PHENTSIZE)[0]


class Change(NamedTuple):
    """`value` as `form` has it, at `offset` of the file."""

    offset: int
    form: str
    value: int


def program_header(number: int, member: int) -> int:
    return PHOFF + number * PHENTSIZE + member


def changed(*changes: Change) -> bytes:
    """The demo's ELF with these changes."""
    data = bytearray(ELF)
    for change in changes:
        struct.pack_into("<" + change.form, data, change.offset, change.value)
    return bytes(data)


# ELF


@pytest.fixture(scope="module")
def demo() -> LoadedGuest:
    return read_guest("demo", memory=16 * MIB)


def test_segments_are_those_that_binutils_would_load(demo: LoadedGuest, tool: Tool, tmp_path: Path) -> None:
    """objcopy lays an ELF out by load address in a flat file; zero-filled parts at the end are left out of it."""
    objcopy = tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")
    subprocess.run([objcopy, "-O", "binary", str(DEMO), str(tmp_path / "flat")], check=True)
    flat = (tmp_path / "flat").read_bytes()
    segments = demo.segments[:-1]  # the last is the device tree
    lowest = min(segment.address for segment in segments)
    memory = bytearray(max(segment.end for segment in segments) - lowest)
    for segment in segments:
        memory[segment.address - lowest : segment.address - lowest + len(segment.data)] = segment.data
    assert bytes(memory[: len(flat)]) == flat
    assert not any(memory[len(flat) :])


def test_entry_and_links_are_those_that_readelf_prints(demo: LoadedGuest, tool: Tool) -> None:
    readelf = tool("aarch64-linux-gnu-readelf", "binutils-aarch64-linux-gnu")
    text = subprocess.check_output([readelf, "-hlW", str(DEMO)], text=True)
    (entry,) = [line.split()[-1] for line in text.splitlines() if "Entry point address" in line]
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == ["LOAD"]]
    assert demo.entry == int(entry, 16) == 0x4008_0000
    assert [(s.virtual, s.address, len(s.data), s.size) for s in demo.segments[:-1]] == [
        tuple(int(number, 16) for number in row[2:6]) for row in rows
    ]
    assert (demo.kind, demo.dwarf, demo.sources) == ("elf", DEMO, (DEMO,))
    assert demo.link_base == demo.segments[0].virtual


def test_symbols_are_those_that_nm_prints(demo: LoadedGuest, tool: Tool) -> None:
    nm = tool("aarch64-linux-gnu-nm", "binutils-aarch64-linux-gnu")
    text = subprocess.check_output([nm, "--defined-only", "--format=posix", str(DEMO)], text=True)
    rows = [line.split() for line in text.splitlines()]
    expected = {(name, int(value, 16)) for name, letter, value, *_ in rows if letter not in "aA"}
    assert {(symbol.name, symbol.address) for symbol in demo.symbols} == expected
    sizes = {name: int(size[0], 16) for name, _, _, *size in rows if size and int(size[0], 16)}
    assert {name: demo.symbols[name].size for name in sizes} == sizes


ALIASES = """
    .globl _start
    .type local_alias, %function
    .type _start, %function
untyped_alias:
local_alias:
_start: b .
    .size _start, 4
    .size local_alias, 4
last_label:
    nop
    nop
"""


def test_global_function_is_preferred_among_aliases(tool: Tool, tmp_path: Path) -> None:
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    (tmp_path / "a.S").write_text(ALIASES)
    options = ["-nostdlib", "-static", "-Wl,--build-id=none,-Ttext=0x40080000", "-o", str(tmp_path / "a.elf")]
    subprocess.run([gcc, *options, str(tmp_path / "a.S")], check=True)
    guest = read_guest(tmp_path / "a.elf")
    assert guest.entry == 0x4008_0000
    assert guest.symbols.describe(0x4008_0000) == "_start"
    assert guest.symbols["local_alias"].address == guest.symbols["untyped_alias"].address == 0x4008_0000
    assert guest.symbols.describe(0x4008_0008) == "last_label+0x4"
    assert guest.dwarf is None


def test_virtual_entry_is_entered_where_it_is_loaded(put: Callable[[bytes], Path]) -> None:
    (virtual,) = struct.unpack_from("<Q", ELF, program_header(0, P_VADDR))
    (physical,) = struct.unpack_from("<Q", ELF, program_header(0, P_PADDR))
    guest = read_guest(put(changed(Change(E_ENTRY, "Q", virtual + 0x40))))
    assert guest.entry == physical + 0x40


EM_386, EM_ARM, EM_X86_64, EM_RISCV = 3, 40, 62, 243
ET_REL, ET_CORE, PT_NULL, PT_INTERP = 1, 4, 0, 3
OVER_THE_FIRST = struct.unpack_from("<Q", ELF, program_header(0, P_PADDR))[0] + 16


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", r"is empty: give armprobe"),
        (b"#!/bin/sh\n", r"is neither an ELF nor an arm64 kernel Image"),
        (b"\x7fELF", r"is cut short: an ELF header takes 64 bytes, and it has 4"),
        (ELF[:80], r"is cut short: the table of program headers ends at byte \d+, and the file has 80"),
        (ELF[:0x1800], r"is cut short: a segment ends at byte \d+, and the file has 6144"),
        (changed(Change(E_MACHINE, "H", EM_X86_64)), r"is for x86-64: armprobe runs AArch64"),
        (changed(Change(E_MACHINE, "H", EM_386)), r"is for x86: armprobe runs AArch64"),
        (changed(Change(E_MACHINE, "H", EM_ARM), Change(4, "B", 1)), r"is for 32-bit ARM: armprobe runs AArch64"),
        (changed(Change(E_MACHINE, "H", EM_RISCV)), r"is for RISC-V: armprobe runs AArch64"),
        (changed(Change(E_MACHINE, "H", 0xFE00)), r"is for machine 65024: armprobe runs AArch64"),
        (changed(Change(5, "B", 2), Change(E_MACHINE, "H", 0xB700)), r"is big-endian"),
        (changed(Change(4, "B", 1)), r"ILP32"),
        (changed(Change(E_TYPE, "H", ET_REL)), r"is a relocatable object or a kernel module, not a program"),
        (changed(Change(E_TYPE, "H", ET_CORE)), r"is not a program \(its ELF type is ET_CORE\)"),
        (changed(Change(program_header(0, P_TYPE), "I", PT_INTERP)), r"needs a dynamic loader.*link it statically"),
        (changed(*(Change(program_header(n, P_TYPE), "I", PT_NULL) for n in range(4))), r"has nothing to load"),
        (
            changed(Change(program_header(1, P_PADDR), "Q", 0x1000)),
            r"load segment 1 of .* needs 0x1000 to 0x1[0-9a-f]{3}, but RAM is 0x40000000 to 0x50000000: link it to be",
        ),
        (
            changed(Change(program_header(3, P_PADDR), "Q", 0x5000_0000 - 0x1000)),
            r"load segment 3 of .* but RAM is 0x40000000 to 0x50000000: give it more memory",
        ),
        (
            changed(*(Change(program_header(n, P_PADDR), "Q", 0xFFFF_8000_0800_0000) for n in range(4))),
            r"which is no physical address: if it is a vmlinux, give armprobe the kernel's Image",
        ),
        (
            changed(Change(program_header(1, P_PADDR), "Q", OVER_THE_FIRST)),
            r"load segment 0 .* and load segment 1 .* overlap",
        ),
        (changed(Change(program_header(0, P_MEMSZ), "Q", 4)), r"a segment is larger in the file than in memory"),
        (changed(Change(program_header(3, P_MEMSZ), "Q", 1 << 62)), r"more than the 256 MiB of memory"),
        (
            changed(Change(E_ENTRY, "Q", 0x1234_0000)),
            r"is to be entered at 0x12340000, which is in none of its segments",
        ),
        (changed(Change(E_ENTRY, "Q", 0x4008_0002)), r"is to be entered at 0x40080002, which is not a multiple of 4"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(put: Callable[[bytes], Path], data: bytes, sentence: str) -> None:
    path = put(data)
    with pytest.raises(MachineError, match=sentence) as raised:
        read_guest(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot read .*/missing: No such file or directory"):
        read_guest(tmp_path / "missing")
    with pytest.raises(MachineError, match=r"cannot read .*: it is a folder, not a regular file"):
        read_guest(tmp_path)


def test_options_for_kernels_are_refused_with_an_elf() -> None:
    for options in ({"initrd": DEMO}, {"cmdline": "quiet"}, {"append": "quiet"}):
        with pytest.raises(MachineError, match="are for kernel Images"):
            read_guest("demo", **options)


with DEMO.open("rb") as _stream:
    _table = ELFFile(_stream).get_section_by_name(".symtab")
    assert _table is not None
    SYMBOLS_AT: int = _table["sh_offset"]
HEADERS_AT: int = struct.unpack_from("<Q", ELF, 40)[0]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 63)
            | st.integers(PHOFF, PHOFF + 4 * PHENTSIZE)
            | st.integers(SYMBOLS_AT, SYMBOLS_AT + 400)
            | st.integers(HEADERS_AT, len(ELF) - 1),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_elf_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(changed(*(Change(offset, "B", value) for offset, value in damage)))
    try:
        guest = read_guest(path)
    except MachineError:
        return
    end = board.RAM_BASE + guest.memory
    assert all(s.address >= board.RAM_BASE and s.address + s.size <= end for s in guest.segments)


# Linux


def test_image_goes_where_booting_rst_wants_it(put: Callable[[bytes], Path], tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"070701" * 100)
    guest = read_guest(put(header(text_offset=0x8_0000) + IMAGE[64:]), initrd=tmp_path / "initrd", append="quiet")
    kernel, disk, tree = guest.segments
    assert kernel.address % (2 * MIB) == 0x8_0000  # text_offset bytes from a 2 MiB aligned base address
    assert (guest.entry, kernel.size, kernel.virtual) == (kernel.address, 0x10_0000, None)
    assert tree.address % 8 == 0  # the device tree on an 8-byte boundary, not exceeding 2 megabytes
    assert len(tree.data) <= 2 * MIB
    assert (tree.address, tree.data) == (guest.x0, guest.device_tree)
    assert disk.data == b"070701" * 100
    assert b"initrd-end\0" in guest.device_tree
    assert struct.pack(">Q", disk.address) in guest.device_tree
    assert struct.pack(">Q", disk.end) in guest.device_tree
    assert b" nokaslr random.trust_bootloader=on quiet\0" in guest.device_tree
    assert guest.sources == (tmp_path / "guest", tmp_path / "initrd")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "console=ttyAMA0 earlycon=pl011,0x9000000 nokaslr random.trust_bootloader=on"),
        ({"append": " quiet "}, "console=ttyAMA0 earlycon=pl011,0x9000000 nokaslr random.trust_bootloader=on quiet"),
        ({"cmdline": "console=hvc0"}, "console=hvc0"),
        ({"kaslr": 1}, "console=ttyAMA0 earlycon=pl011,0x9000000 random.trust_bootloader=on"),
        ({"cmdline": "a  b", "append": "c"}, "a  b c"),
        ({"cmdline": ""}, None),
    ],
)
def test_the_command_line(put: Callable[[bytes], Path], options: dict[str, Any], line: str | None) -> None:
    """Exactly what is given, or ours and what is added; none where it is empty."""
    tree = fdt.parse_dtb(read_guest(put(IMAGE), **options).device_tree)
    chosen = tree.get_node("/chosen")
    assert (chosen.get_property("bootargs") and chosen.get_property("bootargs").value) == line


def test_the_seed_for_kaslr(put: Callable[[bytes], Path]) -> None:
    """A property of 8 bytes in /chosen (dt-schema, chosen.yaml), which small seeds fill too."""

    def seed(kaslr: int) -> list[int]:
        tree = fdt.parse_dtb(read_guest(put(IMAGE), kaslr=kaslr).device_tree)
        return list(tree.get_node("/chosen").get_property("kaslr-seed").data)

    assert len(seed(1)) == 2
    assert seed(1) == seed(1) != seed(2)
    assert all(seed(1) + seed(2))
    assert b"kaslr-seed" not in read_guest(put(IMAGE)).device_tree


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"kaslr": 0}, "0 is no seed for KASLR"),
        ({"kaslr": 1 << 64}, "is no seed for KASLR"),
        ({"kaslr": 1, "cmdline": "quiet nokaslr"}, "the command line has nokaslr"),
        ({"kaslr": 1, "vmlinux": "vmlinux"}, "vmlinux has the addresses that the kernel is linked at"),
    ],
)
def test_what_kaslr_does_not_go_with(put: Callable[[bytes], Path], options: dict[str, Any], why: str) -> None:
    with pytest.raises(MachineError, match=re.escape(why)):
        read_guest(put(IMAGE), **options)


def test_what_is_no_kernel_finds_the_device_tree(put: Callable[[bytes], Path]) -> None:
    """In x0 and at the start of RAM (QEMU's docs/system/arm/virt.rst), or behind a guest that begins there."""
    for guest in (read_guest("demo"), read_guest(put(b"\x1f\x20\x03\xd5" * 64), base=0x4020_0000)):
        tree = guest.segments[-1]
        assert (tree.address, tree.data) == (0x4000_0000, guest.device_tree)
        assert guest.x0 == 0x4000_0000
        assert fdt.parse_dtb(tree.data).get_property("reg", "/memory@40000000").data == [0, 0x4000_0000, 0, 256 * MIB]
    guest = read_guest(put(b"\x1f\x20\x03\xd5" * 64), base=0x4000_0000)
    assert guest.x0 == guest.segments[1].address == 0x4000_1000


def test_image_without_symbols_loads_and_says_so(put: Callable[[bytes], Path]) -> None:
    guest = read_guest(put(IMAGE))
    assert len(guest.symbols) == 0
    (note,) = guest.notes
    assert "carries no kallsyms tables" in note


def test_what_follows_a_large_kernel_moves_out_of_its_way(put: Callable[[bytes], Path], tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"070701")
    large = header(image_size=150 * MIB)
    kernel, disk, tree = read_guest(put(large), initrd=tmp_path / "initrd").segments
    assert tree.address >= kernel.end
    assert disk.address >= tree.end
    with pytest.raises(
        MachineError, match=r"the kernel of .* needs .* but RAM is 0x40000000 to 0x48000000: give it more memory"
    ):
        read_guest(put(large), memory=128 * MIB)


def test_same_inputs_give_the_same_seed_and_others_another(put: Callable[[bytes], Path]) -> None:
    path = put(IMAGE)
    assert read_guest(path).device_tree == read_guest(path).device_tree
    one, other = (read_guest(path, cmdline=line).device_tree for line in ("a", "b"))
    assert len(one) == len(other)
    assert sum(x != y for x, y in zip(one, other, strict=True)) > 32, "64 bytes of seed differ, not the letter alone"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (header(flags=0b1011) + bytes(64), r"is a big-endian kernel"),
        (header(flags=0b1100) + bytes(64), r"is built for pages of 16 KiB: armprobe runs kernels with 4 KiB pages"),
        (header(flags=0b1110) + bytes(64), r"is built for pages of 64 KiB"),
        (header(text_offset=1 << 40) + bytes(64), r"has a damaged header"),
        (header(image_size=1 << 63) + bytes(64), r"the kernel of .* give it more memory"),
        (header(image_size=(1 << 64) - 1) + bytes(64), r"the kernel of .* give it more memory"),
    ],
)
def test_kernel_that_cannot_boot_is_refused_in_one_sentence(
    put: Callable[[bytes], Path], data: bytes, sentence: str
) -> None:
    path = put(data)
    with pytest.raises(MachineError, match=sentence) as raised:
        read_guest(path)
    assert str(path) in str(raised.value)


def test_initrd_that_is_missing_or_empty_is_named(put: Callable[[bytes], Path], tmp_path: Path) -> None:
    kernel = put(IMAGE)
    with pytest.raises(MachineError, match=r"cannot read .*/absent: No such file"):
        read_guest(kernel, initrd=tmp_path / "absent")
    (tmp_path / "empty").touch()
    with pytest.raises(MachineError, match=r"empty is empty: an initial RAM disk"):
        read_guest(kernel, initrd=tmp_path / "empty")
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 250 * MIB)
    with pytest.raises(MachineError, match=r"the initial RAM disk of .* give it more memory"):
        read_guest(kernel, initrd=tmp_path / "big")


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256M", 256 * MIB),
        ("256m", 256 * MIB),
        ("1G", 1 << 30),
        ("64K", 1 << 16),
        ("4096", 4096),
        (" 2MiB ", 2 * MIB),
        ("0", 0),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "1T", "0x100", "256 M B", "\u0661M", "9" * 30])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(MachineError, match=r"is not a size: write a number and K, M or G, such as 256M"):
        parse_size(text)
