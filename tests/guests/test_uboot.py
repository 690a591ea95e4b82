# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that nobody here wrote: Debian's U-Boot for QEMU's virt board, as a raw binary and as an ELF."""

import os
import re
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason

FOLDER = Path("/usr/lib/u-boot/qemu_arm64")
BASE = 0x4020_0000


@pytest.fixture
def uboot() -> Path:
    if not FOLDER.is_dir():
        missing = "U-Boot is not installed (Debian: apt-get install u-boot-qemu)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return FOLDER


def until(guest: Machine, pattern: str) -> str:
    """What the guest prints until something matches: at once, as it then counts a second down by its busy clock."""
    printed = bytearray()

    def listen(data: bytes) -> None:
        printed.extend(data)
        if re.search(pattern, printed.decode()):
            guest.interrupt()

    guest.console.listen(listen)
    try:
        stop = guest.run(instructions=1_000_000_000)
    finally:
        guest.console.unlisten(listen)
    assert stop.reason is StopReason.INTERRUPTED, printed.decode()
    return printed.decode()


@pytest.mark.parametrize(("file", "base"), [("u-boot.bin", BASE), ("uboot.elf", None), ("uboot.elf", BASE + 0x10_0000)])
def test_the_prompt_and_a_command(uboot: Path, file: str, base: int | None) -> None:
    guest = machine.load(uboot / file, base=base)
    assert guest.registers.pc == (base or BASE)
    printed = until(guest, "Hit any key")
    assert "DRAM:  256 MiB" in printed  # as the device tree has it
    assert "devicetree: board" in printed
    guest.console.write(b"\n")
    until(guest, "=> ")
    guest.console.write(b"version\n")
    banner = re.search(r"U-Boot .*", printed)
    assert banner is not None
    assert banner[0].strip() in until(guest, r"GNU ld[^\0]*=> ")


def test_a_raw_binary_needs_its_address(uboot: Path) -> None:
    with pytest.raises(MachineError, match="a raw binary needs the address that it is to be put at"):
        machine.load(uboot / "u-boot.bin")
    with pytest.raises(MachineError, match=r"needs 0x1000 to .*, but RAM is 0x40000000 to 0x50000000"):
        machine.load(uboot / "u-boot.bin", base=0x1000)
    with pytest.raises(MachineError, match="an instruction's address is a multiple of 4"):
        machine.load(uboot / "u-boot.bin", base=BASE + 2)
    with pytest.raises(MachineError, match="is linked for fixed addresses"):
        machine.load("demo", base=BASE)
