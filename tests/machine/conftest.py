# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the machine share: guests of a few instructions."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import Machine

CODE = 0x4000_0000
"""Where the instructions of a guest made by `bare` are."""


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """put(data): a file with that in it."""

    def write(data: bytes) -> Path:
        path = tmp_path / "guest"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def build(tool: Callable[[str, str], str], tmp_path: Path) -> Callable[[str], Path]:
    """build(source): the path of an ELF of assembler `source`, linked at `CODE`, entered at its first instruction."""
    assembler = tool("aarch64-linux-gnu-as", "binutils-aarch64-linux-gnu")
    linker = tool("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu")

    def make(source: str) -> Path:
        text, objects, elf = (tmp_path / f"guest.{ending}" for ending in ("s", "o", "elf"))
        text.write_text(f".arch armv8.5-a\n.globl _start\n_start:\n{source}\n")
        subprocess.run([assembler, "-o", objects, text], check=True)
        subprocess.run([linker, "-N", "-Ttext", hex(CODE), "-o", elf, objects], check=True)
        return elf

    return make


@pytest.fixture
def bare(build: Callable[[str], Path]) -> Callable[..., Machine]:
    """bare(source, cpu=...): a machine of 16 MiB about to execute assembler `source` at EL1h, MMU off, DAIF set."""

    def make(source: str, cpu: str = "cortex-a57") -> Machine:
        return machine.load(build(source), memory="16M", cpu=cpu)

    return make
