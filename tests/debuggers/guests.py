# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests that debuggers are tried on, and what is known of each without a debugger."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import capstone

from armprobe.commands import Session
from armprobe.guests import linux

# Reads of two sizes, without end. dd has the kernel read its blocks one by one, by vfs_read(file, buf, count, pos).
_LOAD: Final = "while :; do for n in 33 77; do dd if=/dev/zero of=/dev/null bs=$n count=9; done; done 2>/dev/null\n"


@dataclass(frozen=True)
class Guest:
    """A guest that is busy, and the places in it that a debugger is to find."""

    name: str
    open: Callable[[], Session]
    function: str
    """Entered often, and calls others."""
    condition: str
    """True at some entries of `function`, not at all."""
    watched: Callable[[Session], int]
    """The address of a number that is loaded and stored often."""
    size: int
    """Of that number (bytes)."""
    variable: str
    """What the program calls it; empty without debug information."""
    successor: Callable[[int], int]
    """That number when it is stored the next time, by its value before."""
    lines: tuple[str, str] | None
    """A function that has line numbers, and what its first line calls; None without debug information."""

    def program(self, session: Session, folder: Path) -> Path:
        """A file of its program, for a debugger that does not take it from the stub."""
        file = session.debug_target.exec_file()
        assert file
        path = folder / f"{self.name}.elf"
        if not path.exists():
            with file.open() as content:
                path.write_bytes(content.read())
        return path


def _demo() -> Session:
    session = Session("demo")
    session.run("continue until=workload_round")
    return session


def _linux() -> Session:
    session = Session(linux.prepare())
    session.machine.console.write(_LOAD.encode())
    session.run("continue until=vfs_read")
    return session


def _xorshift32(state: int) -> int:
    """Marsaglia, Xorshift RNGs (Journal of Statistical Software 8, 14), with the parameters 13, 17, 5."""
    state ^= state << 13 & 0xFFFF_FFFF
    state ^= state >> 17
    return state ^ state << 5 & 0xFFFF_FFFF


def _random(session: Session) -> int:
    return session.machine.symbols["workload"].address + 4  # guests/demo/include/workload.h


def _jiffies(session: Session) -> int:
    """Where jiffies_read(), which does no more, loads jiffies from: Debian's kernel has no symbols of its data."""
    machine = session.machine
    function = machine.symbols["jiffies_read"]
    code = machine.memory.read(function.address, function.size)
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    found = {i.mnemonic: i.op_str for i in disassembler.disasm(code, function.address)}
    page, offset = re.search("#(0x[0-9a-f]+)", found["adrp"]), re.search(r"#(0x[0-9a-f]+)\]", found["ldr"])
    assert page
    return int(page[1], 16) + (int(offset[1], 16) if offset else 0)


DEMO_GUEST: Final = Guest(
    "demo", _demo, "kmalloc", "$x0 == 24", _random, 4, "workload.random", _xorshift32, ("string_round", "next_random")
)
LINUX_GUEST: Final = Guest("Linux", _linux, "vfs_read", "$x2 == 77", _jiffies, 8, "", lambda value: value + 1, None)
GUESTS: Final = (DEMO_GUEST, LINUX_GUEST)
