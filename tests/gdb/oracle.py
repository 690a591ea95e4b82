# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of the demo kernel without running it here: from its file by objdump and pyelftools, and from QEMU."""

import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe.commands import GdbSession
from armprobe.stub.aarch64 import ALIASES
from tests.waiting import PATIENCE

DEMO = Path(__file__).parents[2] / "guests" / "demo" / "demo.elf"
REGISTERS = (*(f"x{n}" for n in range(31)), "sp", "pc", "cpsr")

_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t[0-9a-f]{8} \t(\S+)(?:\t([^/]*?))?(?: *//.*)?$", re.MULTILINE)

Registers = dict[str, int]


class Instruction(NamedTuple):
    """One line of objdump's: "bl", "ffff800000083c90 <kfree>"."""

    name: str
    operands: str


class Demo:
    """demo.elf: its symbols by pyelftools, its instructions by objdump."""

    def __init__(self, objdump: str) -> None:
        with DEMO.open("rb") as file:
            elf = ELFFile(file)
            table = elf.get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            self.symbols: dict[str, tuple[int, int]] = {
                symbol.name: (symbol["st_value"], symbol["st_size"])
                for symbol in table.iter_symbols()
                if not symbol.name.startswith("$")
            }
            self.segments = [
                (segment["p_vaddr"], segment["p_paddr"], segment.data())
                for segment in elf.iter_segments()
                if segment["p_type"] == "PT_LOAD"
            ]
        listing = subprocess.run([objdump, "-d", str(DEMO)], capture_output=True, text=True, check=True).stdout
        self.instructions = {
            int(at, 16): Instruction(name, (operands or "").strip())
            for at, name, operands in _INSTRUCTION.findall(listing)
        }

    def address(self, name: str) -> int:
        """Of a symbol."""
        return self.symbols[name][0]

    def function_at(self, address: int) -> str:
        """The function that has the instruction at `address`."""
        return next(n for n, (start, size) in self.symbols.items() if start <= address < start + size)

    def return_addresses(self, function: str) -> set[int]:
        """Where the calls of `function` return to."""
        called = f"<{function}>"
        return {at + 4 for at, i in self.instructions.items() if i.name == "bl" and i.operands.endswith(called)}

    def initial(self, address: int, length: int) -> bytes:
        """The bytes that the file has for a virtual address."""
        for start, _, data in self.segments:
            if start <= address and address + length <= start + len(data):
                return bytes(data[address - start : address - start + length])
        raise ValueError(f"nothing is loaded at {address:#x}")


def registers(gdb: GdbSession) -> Registers:
    """x0 to x30, sp, pc and cpsr, as gdb has them."""
    said = gdb.execute("info registers " + " ".join(REGISTERS))
    return {name: int(value, 16) for name, value in re.findall(r"^(\w+) +(0x[0-9a-f]+)", said, re.MULTILINE)}


class Qemu:
    """QEMU, stopped before the demo kernel's first instruction, with a gdb attached to its own stub."""

    def __init__(self, qemu: str, gdb: str, gdbinit: Path, folder: Path) -> None:
        socket = folder / "qemu"
        board = "-M virt,gic-version=2 -cpu cortex-a57 -m 16 -display none -monitor none -serial null -S"
        self._process = subprocess.Popen(
            [qemu, *board.split(), "-kernel", str(DEMO), "-gdb", f"unix:{socket},server=on,wait=off"]
        )
        try:
            limit = time.monotonic() + PATIENCE
            while not socket.exists():
                assert self._process.poll() is None, "QEMU has ended"
                assert time.monotonic() < limit, "QEMU does not listen"
                time.sleep(0.02)
            self.gdb = GdbSession(f"unix:{socket}", gdb=gdb, gdbinit=gdbinit)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __enter__(self) -> GdbSession:
        return self.gdb

    def __exit__(self, *_: object) -> None:
        self.gdb.close()
        self._process.kill()
        self._process.wait()


class Reference(NamedTuple):
    """The registers QEMU has at the first hits of functions, all in one run from reset."""

    kfree: list[tuple[Registers, Registers]]  # before and after its first instruction
    kmalloc: list[tuple[Registers, Registers]]  # at its entry and just after its return
    system: Registers  # those of `ALIASES` that this QEMU has, at kmalloc's first entry


HITS = 4


def reference(gdb: GdbSession) -> Reference:
    """Run QEMU's guest and look. Hardware breakpoints, as the guest loads its text again on no occasion."""
    kfree: list[tuple[Registers, Registers]] = []
    kmalloc: list[tuple[Registers, Registers]] = []

    def stop_at(place: str) -> Registers:
        gdb.execute(f"thbreak {place}")
        gdb.continue_to_stop()
        return registers(gdb)

    system: Registers = {}
    for _ in range(HITS):
        entry = stop_at("*kmalloc")
        if not system:
            known = set(re.findall(r"^ *(\w+)", gdb.execute("maint print remote-registers"), re.MULTILINE))
            system = {name: gdb.register(name) for name in ALIASES if name in known}
        kmalloc.append((entry, stop_at("*$x30")))
    for _ in range(HITS):
        before = stop_at("*kfree")
        kfree.append((before, stop_at("*kfree + 4")))  # by a step QEMU 7.2 now and then stays where it was
    return Reference(kfree, kmalloc, system)
