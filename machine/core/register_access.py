# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks on the guest's accesses to system registers that the machine keeps or follows.

Unicorn can call back for MRS and MSR within a range of addresses. A hook on all addresses would also catch the
`mrs x0, sp_el0` with which Linux finds its current task, millions of times a second. So the machine searches the
guest's code for the encodings of those registers and hooks each such instruction. It searches code that appears later
(modules, generated code) block by block, after Unicorn has translated a block and before it executes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from unicorn import arm64_const as reg

from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U64, integer, misfit, row, several
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.native.binding import function
from armprobe.machine.state import Entry, Order

from .context import Context
from .pstate import PSTATE_SS
from .sysregs import Encoding

if TYPE_CHECKING:
    from .core import Core

_NEXT: Final = function("armprobe_next_followed", ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64)


class Access(enum.IntEnum):
    """The effect of an instruction."""

    READ = 0
    WRITE = 1
    UNMASK_DEBUG = 2  # MSR DAIFClr, #8, alone or with others
    RETURN = 3  # ERET
    MAINTAIN = 4  # IC, which is encoded as SYS


_INSTRUCTIONS: Final[dict[int, int]] = {
    Access.READ: reg.UC_ARM64_INS_MRS,
    Access.WRITE: reg.UC_ARM64_INS_MSR,
    Access.MAINTAIN: reg.UC_ARM64_INS_SYS,
}
_MOST_SITES: Final = 20_000  # in a file; Debian's kernels have some 200
Site = tuple[int, int]  # virtual address, Access


_ERET: Final = 0xD69F_03E0
_READ: Final = 1 << 21  # the bit L, which distinguishes MRS from MSR (Arm ARM, C5.2)


def find_sites(code: bytes | memoryview, address: int) -> Iterator[Site]:
    """The accesses in `code`, whose first byte is at `address`."""
    data, count = bytes(code), len(code) // 4
    index = _NEXT(data, 0, count)
    while index < count:
        word = int.from_bytes(data[4 * index : 4 * index + 4], "little")
        if word == _ERET:
            access = Access.RETURN
        elif word >> 19 & 3 == 1:  # op0
            access = Access.MAINTAIN
        elif word >> 16 == 0xD503:
            access = Access.UNMASK_DEBUG
        else:
            access = Access.READ if word & _READ else Access.WRITE
        yield address + 4 * index, access
        index = _NEXT(data, index + 1, count)


class Registers(Protocol):
    """The keeper of some registers. On None or False the next keeper is asked; the CPU itself comes last."""

    def allows_el0(self, register: Encoding, writes: bool) -> bool:
        """Whether EL0 may make an access that the CPU has trapped."""

    def read(self, register: Encoding) -> int | None:
        """The value that an MRS reads; None if the register is not one of these."""

    def write(self, register: Encoding, value: int) -> bool:
        """Do an MSR. False if the register is not one of these, or the CPU is to write it."""


class RegisterAccess:
    """Hooks the accesses of one core and passes them to the keepers in `served`, in order.

    `sites` are the accesses found. `unmasking` and `returns` are the addresses of the last two kinds of `Access`.
    """

    def __init__(self, core: Core, served: tuple[Registers, ...]) -> None:
        self._core, self._memory = core, core.memory
        self._served = served
        self.sites: set[Site] = set()
        self.unmasking: set[int] = set()
        self.returns: set[int] = set()
        self._begun = False
        self._found: list[Site] = []  # in the block that is about to be executed
        self._again = False  # that block must be translated again
        core.native.search(self._translated)
        core.native.serve_registers((core.timers[2], core.timers[3]), self._read, self._write)
        fields = {"found": several(row(integer(U64), integer(len(Access))), _MOST_SITES)}
        entry = Entry(
            Order.CORE,
            lambda: None,  # within this process sites are never removed
            lambda _: None,
            lambda values: misfit(values, fields),
            file_form=(
                lambda: {"found": self.found},
                lambda values: self.watch((site, access) for site, access in values["found"]),
            ),
        )
        core.machine.state.add(f"{core.name}.register_access", entry)

    @property
    def found(self) -> list[list[int]]:
        """`sites` in order, for snapshot files."""
        return [[address, int(access)] for address, access in sorted(self.sites)]

    def watch(self, sites: Iterable[Site]) -> None:
        """Hook the accesses at these virtual addresses."""
        for address, access in sites:
            if (address, access) not in self.sites:
                self.sites.add((address, access))
                if access == Access.UNMASK_DEBUG:
                    self.unmasking.add(address)
                elif access == Access.RETURN:
                    self.returns.add(address)
                else:
                    self._core.native.hook_register(address, _INSTRUCTIONS[access])

    def begin(self, pc: int) -> None:
        """Before a run: search its first page, because Unicorn does not report the first block that it translates."""
        if not self._begun:
            self._begun = True
            with contextlib.suppress(MachineError):
                self.watch(find_sites(self._memory.read(pc, PAGE - pc % PAGE), pc))

    def _translated(self, address: int, size: int) -> bool:
        """Note the accesses in a new block. Returns whether there are any, so that the block must be hooked first."""
        try:
            code = self._memory.read(address, size)
        except MachineError:
            return False
        found = [site for site in find_sites(code, address) if site not in self.sites]
        self._found += found
        self._again = self._core.access_stop.follow(code, address)
        return bool(found) or self._again

    def watch_found(self) -> None:
        """After a run: hook the accesses that ended it."""
        if self._found:
            self.watch(self._found)
            self._found.clear()
            self._core.forget_all()
        elif self._again:
            self._core.renew_code()
        self._again = False

    def trapped(self, context: Context, syndrome: int) -> bool:
        """Do a trapped access (ESR_EL1, ISS of class 0x18) of EL0 if it is allowed. Returns whether it was done."""
        register = Encoding(
            syndrome >> 20 & 3, syndrome >> 14 & 7, syndrome >> 10 & 15, syndrome >> 1 & 15, syndrome >> 17 & 7
        )
        rt, writes = syndrome >> 5 & 31, not syndrome & 1
        if context.el != 0:
            return False
        for served in self._served:
            if served.allows_el0(register, writes):
                if writes:
                    if not served.write(register, 0 if rt == 31 else context.x[rt]):
                        return False
                else:
                    value = served.read(register)
                    if value is None:
                        return False
                    if rt != 31:
                        context.x[rt] = value
                context.pc += 4
                context.pstate &= ~PSTATE_SS  # completes a software step, if one is active
                return True
        return False

    def _read(self, destination: int, which: Encoding) -> bool:
        """Whether a keeper did a read at EL1. `destination` is Unicorn's number of a register."""
        try:
            for served in self._served:
                value = served.read(which)
                if value is not None:
                    if destination != reg.UC_ARM64_REG_XZR:
                        self._core.engine.reg_write(destination, value)
                    return True
        except BaseException as error:  # the caller is the engine; `Core.run` raises the error when the run ends
            self._core.fail(error)
        return False

    def _write(self, source: int, which: Encoding) -> bool:
        """Whether a keeper did a write at EL1."""
        try:
            value = self._core.engine.reg_read(source) if source != reg.UC_ARM64_REG_XZR else 0
            return any(served.write(which, value) for served in self._served)
        except BaseException as error:  # likewise
            self._core.fail(error)
            return False
