# SPDX-License-Identifier: GPL-2.0-or-later
"""What `armprobe check-kernel` says of kernels' files."""

import gzip
import json
import lzma
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from armprobe.commands.cli import main
from armprobe.guests.linux.debian import KernelFiles
from armprobe.kernel.kernel_facts import KernelFacts, examine
from armprobe.machine import Machine, board
from armprobe.machine.loaders import kernel_file, read_guest
from tests.kernel.kernel_image import LINK_BASE, ROWS, Row, write_image
from tests.machine.kernel_files import IMAGE, header, lz4_legacy, zboot
from tests.stock import stock_kernel

pytestmark = pytest.mark.sample(of="files")

MIB = 1 << 20


@pytest.fixture(scope="module")
def files() -> KernelFiles:
    return stock_kernel()


def known(facts: KernelFacts) -> dict[str, bool | None]:
    return {finding.what: finding.known for finding in facts.findings}


def examined(folder: Path, data: bytes) -> KernelFacts:
    (folder / "kernel").write_bytes(data)
    return examine(folder / "kernel", board.RAM_SIZE)


def test_debians_kernel(files: KernelFiles) -> None:
    """Its package's configuration has these options on, and KALLSYMS_ALL and IKCONFIG off."""
    facts = examine(files.vmlinuz, board.RAM_SIZE)
    assert (facts.bootable, facts.format, facts.page_size) == (True, "Image", 4)
    assert files.kernel_version in facts.version
    assert files.package_version in facts.version
    assert known(facts) == {
        **{"symbols": True, "names of data": False, "types": True, "source lines": False, "CONFIG_KPROBES": True},
        **{"built-in initramfs": None, "configuration": False},
    }


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda image: gzip.compress(image, 1),
    "zstd22": lambda image: zstandard.compress(image, 1),
    "lz4": lambda image: lz4_legacy(*(image[at : at + 8 * MIB] for at in range(0, len(image), 8 * MIB))),
    "xzkern": lambda image: lzma.compress(image, preset=0, check=lzma.CHECK_CRC32),
}


@pytest.mark.parametrize("name", PACK)
def test_debians_kernel_in_a_zboot_image(files: KernelFiles, tmp_path: Path, name: str) -> None:
    image = files.vmlinuz.read_bytes()
    (tmp_path / "vmlinuz").write_bytes(zboot(PACK[name](image), name.encode()))
    file = kernel_file.read(tmp_path / "vmlinuz", board.RAM_SIZE)
    assert file.format == "EFI zboot"
    assert file.image == image


def test_zboot_image_boots_to_its_banner(files: KernelFiles, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(zboot(PACK["zstd22"](files.vmlinuz.read_bytes()), b"zstd22"))
    guest = Machine(read_guest(tmp_path / "vmlinuz"))
    assert guest.console.expect(rf"\] {re.escape(examine(files.vmlinuz, board.RAM_SIZE).version)}\r\n")


def test_banner_that_the_kernel_prints(tmp_path: Path) -> None:
    """Of two kernels' banners the first; of the two that one has since 6.1 the last (init/version.c)."""
    start = b"Linux version 6.1.9 (me@here) (gcc, ld) #"
    banners = b" SMP\n\0", b"7 SMP Tue Nov 10 12:00:00 UTC 2026\n\0"
    for image in (start.join((b"", *banners)), start + banners[1] + b"Linux version 5.4.1 (a) (b) #1\n\0"):
        assert (
            examined(tmp_path, IMAGE + image).version
            == "Linux version 6.1.9 (me@here) (gcc, ld) #7 SMP Tue Nov 10 12:00:00 UTC 2026"
        )


def test_reasons_do_not_say_more_than_the_file_shows(tmp_path: Path) -> None:
    """An Image that ends before the kernel's tables do, and says nothing of their size."""
    details = {finding.what: finding.detail for finding in examined(tmp_path, IMAGE).findings}
    assert "CONFIG_KALLSYMS_ALL" not in details["names of data"]
    assert not [detail for detail in details.values() if "is off" in detail]


def with_config(image: bytes, config: str) -> bytes:
    """kernel/configs.c: the configuration, by gzip, between two marks."""
    return image + b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED"


@pytest.mark.parametrize(
    ("config", "kprobes", "initramfs"),
    [
        ('CONFIG_KPROBES=y\nCONFIG_INITRAMFS_SOURCE=""\n', True, False),
        ('# CONFIG_KPROBES is not set\nCONFIG_INITRAMFS_SOURCE="root.cpio"\n', False, True),
    ],
)
def test_configuration_that_a_kernel_carries(tmp_path: Path, config: str, kprobes: bool, initramfs: bool) -> None:
    found = known(examined(tmp_path, with_config(IMAGE, config)))
    assert found["configuration"] is True
    assert (found["CONFIG_KPROBES"], found["built-in initramfs"]) == (kprobes, initramfs)


@pytest.mark.parametrize(("size", "found"), [(512, False), (70_000, True)])
def test_initramfs_of_a_kernel_with_the_names_of_data(tmp_path: Path, size: int, found: bool) -> None:
    """usr/initramfs_data.S: 8 bytes at __initramfs_size."""
    last = ROWS[-1][1]
    place = last + 0x100 - last % 8
    rows: list[Row] = [("_text", LINK_BASE, "T"), *ROWS]
    rows += [("__initramfs_size", place, "D"), ("linux_banner", place + 8, "R")]
    image = bytearray(write_image(rows, "6.4"))
    image += bytes(max(0, place - LINK_BASE + 8 - len(image)))
    struct.pack_into("<Q", image, place - LINK_BASE, size)
    facts = known(examined(tmp_path, bytes(image)))
    assert (facts["symbols"], facts["names of data"], facts["built-in initramfs"]) == (True, True, found)
    assert facts["CONFIG_KPROBES"] is False


def test_damaged_types_and_configuration_are_no_facts(tmp_path: Path) -> None:
    damaged = IMAGE + b"\x9f\xeb\x01\x00\x18\x00\x00\x00" + b"\xff" * 24 + b"IKCFG_ST\x1f\x8b" + b"\xff" * 50
    facts = examined(tmp_path, damaged)
    assert facts.bootable
    assert [known(facts)[what] for what in ("types", "configuration", "CONFIG_KPROBES")] == [False, False, None]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(flags=0b1100) + bytes(64), "is built for pages of 16 KiB"),
        (header(image_size=300 * MIB) + bytes(64), "give it more memory"),
        (b"#!/bin/sh\n", "is no arm64 kernel"),
        (b"", "is empty"),
    ],
)
def test_status_is_1_for_a_kernel_that_cannot_be_booted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, why: str
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(data)
    assert main(["check-kernel", str(path), "--json"]) == 1
    line = json.loads(capsys.readouterr().out)
    assert (line["ok"], line["value"]["bootable"]) == (True, False)
    assert why in line["value"]["reason"]
    assert main(["check-kernel", str(path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("boots              no: ")
    assert why in last
