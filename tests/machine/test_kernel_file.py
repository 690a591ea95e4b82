# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels in every format: unpacked as the tools of a kernel's build have packed them, and every refusal."""

import bz2
import gzip
import lzma
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine.errors import MachineError
from armprobe.machine.loaders import kernel_file, read_guest
from tests.machine.kernel_files import IMAGE, header, lz4_legacy, with_sections, with_size, zboot

Tool = Callable[[str, str], str]
MIB = 1 << 20


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(IMAGE),
        bz2.compress(IMAGE),
        lzma.compress(IMAGE),
        zstandard.compress(IMAGE),
        lz4_legacy(IMAGE[:500], IMAGE[500:]),
        zboot(with_size(zstandard.compress(IMAGE)), b"zstd22"),
        zboot(zstandard.compress(IMAGE), b"zstd"),
        zboot(with_size(lz4_legacy(IMAGE)), b"lz4"),
        zboot(gzip.compress(IMAGE), b"gzip"),
        zboot(lzma.compress(IMAGE, check=lzma.CHECK_CRC32) + struct.pack("<I", len(IMAGE)), b"xzkern"),
        zboot(lzma.compress(IMAGE, format=lzma.FORMAT_ALONE) + struct.pack("<I", len(IMAGE)), b"lzma"),
    ],
    ids=[
        "gzip",
        "bzip2",
        "xz",
        "zstd",
        "lz4",
        "zboot-zstd22",
        "zboot-zstd",
        "zboot-lz4",
        "zboot-gzip",
        "zboot-xz",
        "zboot-lzma",
    ],
)
def test_packed_image_is_unpacked(put: Callable[[bytes], Path], packed: bytes) -> None:
    assert read_guest(put(packed)).segments[0].data == IMAGE


@pytest.mark.parametrize(
    ("command", "package", "name"),
    [
        ("zstd -q -22 --ultra -c", "zstd", b"zstd22"),
        ("lz4 -q -l -9 -c", "lz4", b"lz4"),
        ("xz --check=crc32 --arm64 --lzma2=dict=32MiB -c", "xz-utils", b"xzkern"),
        ("xz --format=lzma -9 -c", "xz-utils", b"lzma"),
        ("gzip -n -9 -c", "gzip", b"gzip"),
    ],
)
def test_payload_is_unpacked_that_the_tools_of_a_kernel_build_make(
    put: Callable[[bytes], Path], tool: Tool, command: str, package: str, name: bytes
) -> None:
    """By the commands of scripts/Makefile.lib."""
    program, *options = command.split()
    result = subprocess.run([tool(program, package), *options], input=IMAGE, capture_output=True)
    if b"--arm64" in result.stderr:
        pytest.skip("this xz has no filter for arm64")
    assert not result.returncode, result.stderr
    payload = result.stdout if name == b"gzip" else with_size(result.stdout)
    assert read_guest(put(zboot(payload, name))).segments[0].data == IMAGE


@pytest.mark.parametrize(("library", "name"), [("zstandard", "zstd"), ("lz4.block", "lz4")])
def test_missing_library_is_named(
    put: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, library: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    path = put(zboot(b"x", name.encode()))
    with pytest.raises(MachineError, match=rf"compressed with {name}, .* pip install 'armprobe\[kernels\]'"):
        read_guest(path)


PACKED = [
    zboot(zstandard.compress(IMAGE), b"zstd22"),
    zboot(lz4_legacy(IMAGE[:500], IMAGE[500:]), b"lz4"),
    zboot(lzma.compress(IMAGE), b"xzkern"),
    bz2.compress(IMAGE),
]


@given(
    st.sampled_from(PACKED),
    st.lists(st.tuples(st.integers(0, 63) | st.integers(0x400, 0x500), st.integers(0, 255)), max_size=3),
    st.integers(0, 1 << 12),
)
def test_damaged_packed_image_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, packed: bytes, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(packed[: len(packed) - cut % len(packed)])
    for offset, value in damage:
        if offset < len(data):
            data[offset] = value
    path = tmp_path_factory.getbasetemp() / "damaged-kernel"
    path.write_bytes(data)
    try:
        image = kernel_file.read(path, 256 * MIB).image
    except MachineError:
        return
    assert len(image) < 64 * MIB


VMLINUX = """
    .section .head.text, "ax"
    .globl _text
_text:
    b _text
    .long 0
    .quad 0, 0x40000, 0b1010, 0, 0, 0
    .ascii "ARMd"
    .long 0
    .text
    .globl vfs_read
    .type vfs_read, %function
vfs_read:
    ret
    .data
    .quad _text
    .bss
    .skip 0x20000
"""
LAYOUT = """
PHDRS { text PT_LOAD; data PT_LOAD; }
SECTIONS {
    . = 0xffff800008000000;
    .head.text : { *(.head.text) } :text
    .text : { *(.text) } :text
    . = ALIGN(0x10000);
    .data : { *(.data) } :data
    .bss : { *(.bss) } :data
}
"""


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory, tool: Tool) -> Path:
    """An ELF as that of a kernel: linked for virtual addresses, and an Image's header first."""
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    folder = tmp_path_factory.mktemp("vmlinux")
    (folder / "a.S").write_text(VMLINUX)
    (folder / "a.lds").write_text(LAYOUT)
    options = ["-nostdlib", "-static", "-Wl,--build-id=none", f"-Wl,-T,{folder / 'a.lds'}"]
    subprocess.run([gcc, *options, "-o", str(folder / "vmlinux"), str(folder / "a.S")], check=True)
    return folder / "vmlinux"


def test_vmlinux_is_loaded_as_the_image_that_objcopy_makes_of_it(vmlinux: Path, tool: Tool, tmp_path: Path) -> None:
    objcopy = tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")
    subprocess.run([objcopy, "-O", "binary", str(vmlinux), str(tmp_path / "Image")], check=True)
    file = kernel_file.read(vmlinux, 256 * MIB)
    assert bytes(file.image) == (tmp_path / "Image").read_bytes()
    assert file.image_size == 0x40000
    guest = read_guest(vmlinux)
    assert guest.kind == "linux"
    assert (guest.symbols["vfs_read"].address, guest.segments[0].virtual) == (
        0xFFFF_8000_0800_0040,
        0xFFFF_8000_0800_0000,
    )


def test_image_whose_sections_end_where_it_does_is_taken(put: Callable[[bytes], Path]) -> None:
    assert read_guest(put(with_sections((0x800, 0x800), (0x400, 0x400)))).kind == "linux"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x1f\x8b" + b"garbage" * 50, r"cannot be unpacked, so it is damaged or no kernel"),
        (gzip.compress(b"hello"), r"is compressed, and what is in it is not an arm64 kernel Image"),
        (gzip.compress(IMAGE)[:-20], r"is cut short: its compressed data has no end"),
        (gzip.compress(bytes(40 * MIB), 1), r"is compressed, and what is in it is not an arm64 kernel Image"),
        (gzip.compress(header() + bytes(40 * MIB), 1), r"unpacks to more than (29|30),\d+,\d+ bytes"),
        (zboot(lzma.compress(header() + bytes(40 * MIB), preset=0), b"xzkern"), r"to more than 29,\d+,\d+ bytes"),
        (zstandard.compress(IMAGE)[:-20], r"is cut short: its compressed data has no end"),
        (lz4_legacy(IMAGE)[:-20], r"is cut short: its compressed data has no end"),
        (zboot(zstandard.compress(header() + bytes(40 * MIB)), b"zstd22"), r"to more than 29,\d+,\d+ bytes"),
        (lz4_legacy(*[header() + bytes(7 * MIB)] * 6), r"to more than 29,\d+,\d+ bytes"),
        (zboot(b"\x02\x21\x4c\x18\xff\xff\xff\x7f", b"lz4"), r"a block of LZ4 has 2,147,483,647 bytes"),
        (zboot(b"x", b"lzo"), r"is compressed with lzo, which armprobe does not unpack: give it the kernel's plain"),
        (
            zboot(gzip.compress(IMAGE), b"zpaq"),
            r"is an EFI zboot image compressed with zpaq, which armprobe does not unpack",
        ),
        (zboot(b"x", b"a\n\x1b[2J"), r"compressed with 'a\\n\\x1b\[2J', which armprobe does not unpack"),
        (zboot(gzip.compress(IMAGE), b"gzip", size=1 << 30), r"is cut short: its payload ends at byte"),
        (zboot(b"garbage" * 10, b"xzkern"), r"cannot be unpacked"),
        (
            with_sections((0x800, 0x801), (0x400, 0x400)),
            r"is cut short: its sections end at byte 4097, and it has 4096",
        ),
        (with_sections((0x10, 0xFF0))[:300], r"is cut short: its sections end at byte 4096, and it has 300"),
        (with_sections((0x10, 0xFF0))[:66], r"is cut short: its sections end at byte 88, and it has 66"),
    ],
)
def test_kernel_that_cannot_boot_is_refused_in_one_sentence(
    put: Callable[[bytes], Path], data: bytes, sentence: str
) -> None:
    path = put(data)
    with pytest.raises(MachineError, match=sentence) as raised:
        read_guest(path)
    assert str(path) in str(raised.value)
