# SPDX-License-Identifier: GPL-2.0-or-later
"""`Machine.kernel`: which guests are kernels, and what each kind of kernel has."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.kernel.dwarf import Dwarf
from armprobe.machine import MachineError
from tests.kernel.kernel_image import ROWS, write_image


def test_demo_kernel_has_no_modules_and_tasks() -> None:
    """It keeps no list of modules, its tasks are its own, and its build makes DWARF, no BTF (guests/demo/Makefile)."""
    demo = machine.load("demo", memory="16M")
    kernel = demo.kernel
    assert kernel is not None
    assert (kernel.version, kernel.modules, kernel.tasks) == (None, None, None)
    assert not kernel.has_ftrace
    assert not kernel.replaces_page_tables
    assert isinstance(kernel.types, Dwarf)


def test_kernel_without_type_information(tmp_path: Path) -> None:
    demo = machine.load("demo", memory="16M")
    demo.run(until="kfree")
    demo.save(tmp_path / "saved")
    kernel = machine.load(tmp_path / "saved").kernel
    assert kernel is not None
    with pytest.raises(MachineError, match="this guest has no type information: neither BTF, nor DWARF"):
        kernel.types  # noqa: B018


def test_types_before_the_kernel_is_mapped() -> None:
    demo = machine.load("demo", memory="16M")
    demo.guest = replace(demo.guest, dwarf=None)
    kernel = demo.kernel
    assert kernel is not None
    with pytest.raises(MachineError, match="before the kernel has set its MMU up"):
        kernel.types  # noqa: B018


def test_bare_code_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(struct.pack("<I", 0xD503_201F) * 64)
    assert machine.load(tmp_path / "raw", base=0x4020_0000).kernel is None


def test_image_is_a_linux_kernel(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(write_image(ROWS, "6.1"))
    guest = machine.load(tmp_path / "Image")
    kernel = guest.kernel
    assert kernel is not None
    assert guest.kernel is kernel
    assert kernel.symbols is guest.symbols
    assert [(symbol.name, symbol.address) for symbol in kernel.symbols] == sorted(
        ((name, address) for name, address, _ in ROWS), key=lambda row: row[1]
    )
    assert kernel.modules is guest.symbols.modules
    assert kernel.tasks is not None


def test_saved_kernel_is_a_kernel_again(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(write_image(ROWS, "6.1"))
    guest = machine.load(tmp_path / "Image")
    guest.save(tmp_path / "saved")
    again = machine.load(tmp_path / "saved")
    assert type(again.kernel) is type(guest.kernel)
    assert list(again.symbols) == list(guest.symbols)
