# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's accesses to system registers that the machine has itself, or has to know of.

Unicorn can call back for MRS and MSR within a range of addresses; asked for all addresses that would catch the
`mrs x0, sp_el0` with which Linux finds its current task millions of times a second. So the guest's code is searched for
the encodings of those registers, and each such instruction gets a hook of its own. Code that was not there to be
searched (modules, what a guest generates) is searched block by block, when Unicorn has translated a block and before it
executes it.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import unicorn
from unicorn import arm64_const as reg

from .cpu import Cpu
from .errors import MachineError
from .frame import Frame
from .memory import Memory
from .mmu import PAGE
from .sysregs import Encoding

# MRS and MSR of a register: what has to be, without L (bit 21) and Rt. Arm ARM, C5.2 and chapter D19.
_REGISTERS: Final = (
    (0xFFDF_F000, 0xD51B_E000),  # CNT*_EL0
    (0xFFDF_FFE0, 0xD518_E100),  # CNTKCTL_EL1
    (0xFFDF_E000, 0xD510_0000),  # the debug registers at op1 0, CRn 0 and 1
)
_UNMASKS_D: Final = 0xFFFF_F8FF, 0xD503_48FF  # MSR DAIFClr with bit 3
_HIGH_HALVES: Final = (b"\x3b\xd5", b"\x1b\xd5", b"\x38\xd5", b"\x18\xd5", b"\x30\xd5", b"\x10\xd5", b"\x03\xd5")


class Access(enum.IntEnum):
    """What an instruction does."""

    READ = 0
    WRITE = 1
    UNMASK_DEBUG = 2  # MSR DAIFClr, #8, alone or with others


Site = tuple[int, int]  # virtual address, Access


def find_sites(code: bytes | memoryview, address: int) -> Iterator[Site]:
    """Each of those accesses in `code`, whose first byte is at `address`."""
    data = bytes(code)
    for high in _HIGH_HALVES:
        at = data.find(high)
        while at >= 0:
            start = at - 2
            if start >= 0 and not start % 4:
                word = int.from_bytes(data[start : start + 4], "little")
                if any(word & mask == value for mask, value in _REGISTERS):
                    yield address + start, Access.READ if word & 1 << 21 else Access.WRITE
                elif word & _UNMASKS_D[0] == _UNMASKS_D[1]:
                    yield address + start, Access.UNMASK_DEBUG
            at = data.find(high, at + 2)


class Registers(Protocol):
    """Who has some of the registers. What one returns None or False for is the next one's, and the CPU's at last."""

    def read(self, register: Encoding) -> int | None:
        """The value that an MRS at EL1 reads."""

    def write(self, register: Encoding, value: int) -> bool:
        """An MSR at EL1; whether it is done."""


class RegisterAccess:
    """Hooks on accesses. `sites` is what is hooked; `unmasking` the addresses of Access.UNMASK_DEBUG."""

    def __init__(self, cpu: Cpu, memory: Memory) -> None:
        self._cpu, self._memory = cpu, memory
        self._served: list[Registers] = []
        self.sites: set[Site] = set()
        self.unmasking: set[int] = set()
        self._begun = False
        self._found: list[Site] = []  # in the block that is about to be executed

    def serve(self, registers: Registers) -> None:
        """Ask `registers` first for what it has."""
        self._served.append(registers)

    def watch(self, sites: Iterable[Site]) -> None:
        """Hook the accesses at these virtual addresses."""
        for address, access in sites:
            if (address, access) not in self.sites:
                self.sites.add((address, access))
                if access == Access.UNMASK_DEBUG:
                    self.unmasking.add(address)
                else:
                    self._hook(access == Access.WRITE, address)

    def search(self, first: int, last: int) -> None:
        """Find and hook the accesses in whatever is executed from virtual address `first` to `last`."""
        self._cpu.engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, self._translated, None, first, last)

    def begin(self, pc: int) -> None:
        """Before a run: Unicorn does not tell of the first block of all that it translates."""
        if not self._begun:
            self._begun = True
            with contextlib.suppress(MachineError):
                self.watch(find_sites(self._memory.read(pc, PAGE - pc % PAGE), pc))

    def _translated(self, engine: unicorn.Uc, block: object, previous: object, _: object) -> None:
        address, size = block.pc, block.size  # type: ignore[attr-defined]  # a ctypes structure of the binding
        with contextlib.suppress(MachineError):
            found = [site for site in find_sites(self._memory.read(address, size), address) if site not in self.sites]
            if found:
                self._found += found
                engine.emu_stop()  # which comes before the block

    def watch_found(self) -> None:
        """After a run: hook what it was ended for."""
        if self._found:
            self.watch(self._found)
            self._found.clear()
            self._cpu.forget_all()

    def _hook(self, writes: bool, address: int) -> None:
        instruction = reg.UC_ARM64_INS_MSR if writes else reg.UC_ARM64_INS_MRS
        callback = self._on_write if writes else self._on_read
        self._cpu.engine.hook_add(unicorn.UC_HOOK_INSN, callback, None, address, address, instruction)

    def _on_read(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        """1 if the instruction has been done here. What EL0 does is the CPU's to allow or to trap."""
        if self._frame().el == 0:
            return 0
        encoding = _encoding(which)
        for served in self._served:
            value = served.read(encoding)
            if value is not None:
                if register != reg.UC_ARM64_REG_XZR:
                    engine.reg_write(register, value)
                return 1
        return 0

    def _on_write(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        if self._frame().el == 0:
            return 0
        encoding = _encoding(which)
        value = engine.reg_read(register) if register != reg.UC_ARM64_REG_XZR else 0
        return int(any(served.write(encoding, value) for served in self._served))

    def _frame(self) -> Frame:
        return self._cpu.load()


def _encoding(which: object) -> Encoding:
    return Encoding(which.op0, which.op1, which.crn, which.crm, which.op2)  # type: ignore[attr-defined]  # the binding's
