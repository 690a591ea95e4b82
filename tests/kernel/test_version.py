# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of a Linux guest, from banners as kernels have them."""

import struct
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import Machine, Symbols
from armprobe.machine.symbols import Symbol

DEBIAN_12 = (
    "Linux version 6.1.0-56-cloud-arm64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, "
    "GNU ld (GNU Binutils for Debian) 2.40) #1 SMP Debian 6.1.192-2 (2026-11-11)"
)
DEBIAN_13 = (
    "Linux version 6.12.107+deb13-cloud-arm64 (debian-kernel@lists.debian.org) (aarch64-linux-gnu-gcc-14 (Debian "
    "14.2.0-19) 14.2.0, GNU ld (GNU Binutils for Debian) 2.44) #1 SMP Debian 6.12.107-1 (2026-09-20)"
)
UBUNTU = (
    "Linux version 5.15.0-91-generic (buildd@bos03-arm64-034) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU "
    "Binutils for Ubuntu) 2.38) #101-Ubuntu SMP Tue Nov 14 13:29:11 UTC 2023 (Ubuntu 5.15.0-91.101-generic 5.15.131)"
)
FEDORA = "Linux version 6.5.6-300.fc39.aarch64 (mockbuild@) (gcc (GCC) 13.2.1, GNU ld version 2.40-13.fc39) #1 SMP"
CANDIDATE = "Linux version 7.3-cloud-arm64 (debian-kernel@lists.debian.org) (gcc-15) #1 SMP Debian 7.3~rc7-1~exp1"


def image(path: Path, content: bytes) -> Path:
    """An Image with that behind its header (Documentation/arch/arm64/booting.rst)."""
    header = struct.pack("<8xQQQ24x4s4x", 0, 64 + len(content), 0b1010, b"ARMd")
    path.write_bytes(header + content)
    return path


def version_of(guest: Machine) -> tuple[int, int, int] | None:
    assert guest.kernel is not None
    return guest.kernel.version


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        (DEBIAN_12, (6, 1, 192)),
        (DEBIAN_13, (6, 12, 107)),
        (UBUNTU, (5, 15, 131)),
        (FEDORA, (6, 5, 6)),
        (CANDIDATE, (7, 3, 0)),
    ],
)
def test_banner(tmp_path: Path, banner: str, version: tuple[int, int, int]) -> None:
    # The first is the format of the line in the boot log, the second what an error message of a program might have.
    others = b"Linux version %s (%s)\0Linux version 2.6.32 is too old\0"
    guest = machine.load(image(tmp_path / "Image", others + banner.encode() + b"\n\0"))
    assert version_of(guest) == version


@pytest.mark.parametrize(
    "content", [b"", b"Linux version 6.1.0", b"Linux version six\n\0", b"Linux version 6.1.0" + b"x" * 10_000 + b"\n\0"]
)
def test_no_banner(tmp_path: Path, content: bytes) -> None:
    assert version_of(machine.load(image(tmp_path / "Image", content))) is None


def test_memory_full_of_them(tmp_path: Path) -> None:
    assert version_of(machine.load(image(tmp_path / "Image", b"Linux version " * 100_000))) is None


@pytest.mark.parametrize("end_of_code", [0x1000, 0x8000])
def test_the_banner_is_before_or_behind_the_end_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end_of_code: int
) -> None:
    """Old kernels have their read-only data before _etext, later ones behind it (arch/arm64/kernel/vmlinux.lds.S)."""
    guest = machine.load(image(tmp_path / "Image", bytes(0x4000) + DEBIAN_12.encode() + b"\n\0"))
    start = 0xFFFF_8000_0800_0000
    known = {"_stext": start, "_etext": start + end_of_code}
    symbols = {name: Symbol(name, address, 0, "other") for name, address in known.items()}
    monkeypatch.setattr(Symbols, "in_kernel", lambda self, name: symbols.get(name))
    assert version_of(guest) == (6, 1, 192)


def test_guest_that_is_not_linux() -> None:
    assert version_of(machine.load("demo")) is None
