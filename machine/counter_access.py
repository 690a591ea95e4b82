# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes the guest's accesses to the generic timer's system registers to our timers.

Unicorn can call back for MRS and MSR within a range of addresses; asked for all addresses that would catch the
`mrs x0, sp_el0` with which Linux finds its current task millions of times a second. So the guest's code is searched for
the encodings of the timer registers, and each such instruction gets a hook of its own. Code that was not there to be
searched (modules, what a guest generates) is searched block by block, when Unicorn has translated a block and before it
executes it. User space is kept from the registers (CNTKCTL_EL1), and where the guest allows it the access, what it
traps is done here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

import unicorn
from unicorn import arm64_const as reg

from .clock import Clock
from .cpu import Cpu
from .devices.timer import FREQUENCY, GenericTimer
from .errors import MachineError
from .frame import Frame
from .memory import Memory
from .mmu import PAGE
from .sysregs import SYSTEM_REGISTERS

_CNTFRQ: Final = (0, 0)  # (CRm, op2), with op0 3, op1 3, CRn 14
_PHYSICAL_COUNTERS: Final = {(0, 1), (0, 5)}  # CNTPCT and its self-synchronised form
_VIRTUAL_COUNTERS: Final = {(0, 2), (0, 6)}
_CNTKCTL: Final = SYSTEM_REGISTERS["cntkctl_el1"]
# CNTKCTL_EL1: what it lets EL0 do (Arm ARM, D19.12.15)
_EL0PCTEN, _EL0VCTEN, _EL0VTEN, _EL0PTEN = 1 << 0, 1 << 1, 1 << 8, 1 << 9
_TIMER_ALLOWED_BY: Final = {2: _EL0PTEN, 3: _EL0VTEN}
_CNTKCTL_ALLOWS_EL0: Final = _EL0PCTEN | _EL0VCTEN | _EL0VTEN | _EL0PTEN


def find_sites(code: bytes | memoryview, address: int) -> Iterator[tuple[int, bool]]:
    """(address, whether it writes) of each timer register access in `code`, whose first byte is at `address`."""
    data = bytes(code)
    for high in (b"\x3b\xd5", b"\x1b\xd5", b"\x38\xd5", b"\x18\xd5"):
        at = data.find(high)
        while at >= 0:
            start = at - 2
            if start >= 0 and not start % 4:
                word = int.from_bytes(data[start : start + 4], "little")
                # CNT*_EL0, and CNTKCTL_EL1
                if word & 0xFFDF_F000 == 0xD51B_E000 or word & 0xFFDF_FFE0 == 0xD518_E100:
                    yield address + start, not word & 1 << 21
            at = data.find(high, at + 2)


class CounterAccess:
    """Hooks on timer register accesses. `sites` is what is hooked, (virtual address, whether it writes)."""

    STATE = ("control",)

    def __init__(self, cpu: Cpu, memory: Memory, clock: Clock, timers: dict[int, GenericTimer]) -> None:
        self._cpu, self._memory, self._clock, self._timers = cpu, memory, clock, timers
        self.control = 0  # CNTKCTL_EL1 as the guest has it; the CPU's own lets EL0 do nothing
        self.sites: set[tuple[int, bool]] = set()
        self._begun = False
        self._found: list[tuple[int, bool]] = []  # in the block that is about to be executed

    def watch(self, sites: Iterable[tuple[int, bool]]) -> None:
        """Hook the accesses at these virtual addresses."""
        for address, writes in sites:
            if (address, writes) not in self.sites:
                self.sites.add((address, writes))
                self._hook(writes, address, address)

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

    def trapped(self, frame: Frame, syndrome: int) -> bool:
        """An access to a system register that trapped (ESR_EL1, ISS of class 0x18): done here, if EL0 may make it."""
        op0, op2, op1, crn = syndrome >> 20 & 3, syndrome >> 17 & 7, syndrome >> 14 & 7, syndrome >> 10 & 15
        rt, crm, reads = syndrome >> 5 & 31, syndrome >> 1 & 15, syndrome & 1
        if frame.el != 0 or (op0, op1, crn) != (3, 3, 14) or not self.control & _allowed_by(crm, op2):
            return False
        if reads:
            value = self.read(crm, op2)
            if value is None:
                return False
            if rt != 31:
                frame.x[rt] = value
        elif not self._write_timer(crm, op2, 0 if rt == 31 else frame.x[rt]):
            return False
        frame.pc += 4
        return True

    def read(self, crm: int, op2: int) -> int | None:
        """The register of op0 3, op1 3, CRn 14, CRm `crm` and op2 `op2`; None if there is none of the timer's."""
        if (crm, op2) in _PHYSICAL_COUNTERS or (crm, op2) in _VIRTUAL_COUNTERS:
            return self._clock.now
        if crm in self._timers and op2 <= 2:
            return self._timers[crm].read(op2)
        return FREQUENCY if (crm, op2) == _CNTFRQ else None

    def _write_timer(self, crm: int, op2: int, value: int) -> bool:
        if crm not in self._timers or op2 > 2:
            return False
        timer = self._timers[crm]
        timer.write(op2, value)
        if timer.deadline is not None:  # how far to run until it fires was decided before
            self._cpu.limit(max(0, timer.deadline - self._clock.now))
        return True

    def _hook(self, writes: bool, first: int, last: int) -> None:
        instruction = reg.UC_ARM64_INS_MSR if writes else reg.UC_ARM64_INS_MRS
        callback = self._on_write if writes else self._on_read
        self._cpu.engine.hook_add(unicorn.UC_HOOK_INSN, callback, None, first, last, instruction)

    def _on_read(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        """1 if the instruction has been done here. What EL0 does traps, and is done in `trapped`."""
        op0, op1, crn, crm, op2 = _encoding(which)
        if self._cpu.load().el == 0:
            return 0
        if (op0, op1, crn) == (3, 3, 14):
            value = self.read(crm, op2)
        else:
            value = self.control if (op0, op1, crn, crm, op2) == _CNTKCTL else None
        if value is None:
            return 0
        if register != reg.UC_ARM64_REG_XZR:
            engine.reg_write(register, value)
        return 1

    def _on_write(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        op0, op1, crn, crm, op2 = _encoding(which)
        if self._cpu.load().el == 0:
            return 0
        value = engine.reg_read(register) if register != reg.UC_ARM64_REG_XZR else 0
        if (op0, op1, crn, crm, op2) == _CNTKCTL:
            self.control = value & 0xFFFF_FFFF
            self._cpu.set_system(_CNTKCTL, self.control & ~_CNTKCTL_ALLOWS_EL0)
            return 1
        return int((op0, op1, crn) == (3, 3, 14) and self._write_timer(crm, op2, value))


def _encoding(which: object) -> tuple[int, int, int, int, int]:
    return which.op0, which.op1, which.crn, which.crm, which.op2  # type: ignore[attr-defined]  # the binding's


def _allowed_by(crm: int, op2: int) -> int:
    """The bits of CNTKCTL_EL1 any of which lets EL0 access the register."""
    if crm in _TIMER_ALLOWED_BY:
        return _TIMER_ALLOWED_BY[crm]
    if (crm, op2) == _CNTFRQ:
        return _EL0PCTEN | _EL0VCTEN
    return _EL0PCTEN if (crm, op2) in _PHYSICAL_COUNTERS else _EL0VCTEN
