# SPDX-License-Identifier: GPL-2.0-or-later
"""Routes the guest's accesses to the generic timer's system registers to our timers.

Unicorn can call back for MRS and MSR within a range of addresses; asked for all addresses that would catch the
`mrs x0, sp_el0` with which Linux finds its current task millions of times a second. So the guest's code is searched
for the encodings of the timer registers, and each such instruction gets a hook of its own. User space is never
searched: it is kept from reading the counter directly (CNTKCTL_EL1), which makes Linux do it on its behalf, at an
instruction that is hooked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import unicorn
from unicorn import arm64_const as reg

from .clock import Clock
from .cpu import Cpu
from .devices.timer import FREQUENCY, GenericTimer

_COUNTERS: Final = {(0, 1), (0, 2), (0, 5), (0, 6)}  # (CRm, op2) of CNTPCT, CNTVCT and their self-synchronised forms
_CNTKCTL_ALLOWS_EL0: Final = 0b11_0000_0011  # EL0PTEN, EL0VTEN, EL0VCTEN, EL0PCTEN
_MSR_CNTKCTL: Final = 0xD518E100


def find_sites(code: bytes | memoryview, address: int) -> Iterator[tuple[int, bool]]:
    """(address, whether it writes) of each timer register access in `code`, whose first byte is at `address`."""
    data = bytes(code)
    for high in (b"\x3b\xd5", b"\x1b\xd5", b"\x18\xd5"):
        at = data.find(high)
        while at >= 0:
            start = at - 2
            if start >= 0 and not start % 4:
                word = int.from_bytes(data[start : start + 4], "little")
                if word & 0xFFDF_F000 == 0xD51B_E000 or word & 0xFFFF_FFE0 == _MSR_CNTKCTL:
                    yield address + start, not word & 1 << 21
            at = data.find(high, at + 2)


class CounterAccess:
    """Hooks on timer register accesses. `sites` is what is hooked, (virtual address, whether it writes)."""

    def __init__(self, cpu: Cpu, clock: Clock, timers: dict[int, GenericTimer]) -> None:
        self._cpu, self._clock, self._timers = cpu, clock, timers
        self.sites: set[tuple[int, bool]] = set()

    def watch(self, sites: Iterable[tuple[int, bool]]) -> None:
        """Hook the accesses at these virtual addresses."""
        for address, writes in sites:
            if (address, writes) in self.sites:
                continue
            self.sites.add((address, writes))
            instruction = reg.UC_ARM64_INS_MSR if writes else reg.UC_ARM64_INS_MRS
            callback = self._write if writes else self._read
            self._cpu.engine.hook_add(unicorn.UC_HOOK_INSN, callback, None, address, address, instruction)

    def _read(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        crm, op2 = which.crm, which.op2  # type: ignore[attr-defined]  # a ctypes structure of the binding
        if (crm, op2) in _COUNTERS:
            value = self._clock.now
        elif crm in self._timers:
            value = self._timers[crm].read(op2)
        elif (crm, op2) == (0, 0):
            value = FREQUENCY
        else:
            return 0
        engine.reg_write(register, value)
        return 1

    def _write(self, engine: unicorn.Uc, register: int, which: object, _: object) -> int:
        crm, op2 = which.crm, which.op2  # type: ignore[attr-defined]
        value = engine.reg_read(register)
        if which.op1 == 0:  # type: ignore[attr-defined]  # CNTKCTL_EL1
            engine.reg_write(register, value & ~_CNTKCTL_ALLOWS_EL0)
            return 0
        if crm not in self._timers:
            return 0
        timer = self._timers[crm]
        timer.write(op2, value)
        if timer.deadline is not None:
            self._cpu.limit(max(0, timer.deadline - self._clock.now))
        return 1
