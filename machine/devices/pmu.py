# SPDX-License-Identifier: GPL-2.0-or-later
"""The performance monitors, PMUv3 (Arm ARM, D7): counters that count instructions.

A cycle is one instruction, as for the timers, so that counts are reproducible. Unicorn's own cycle counter follows the
host's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from armprobe.machine.core.sysregs import Encoding
from armprobe.machine.field_checks import U32, U63, U64, boolean, integer, several
from armprobe.machine.state import Order, StateRegistry

COUNTERS: Final = 6  # event counters, as a Cortex-A57 has (PMCR_EL0.N)
CYCLES: Final = 31
"""The number of the cycle counter."""
_ALL: Final = 1 << CYCLES | (1 << COUNTERS) - 1
_SW_INCR, _INST_RETIRED, _CPU_CYCLES = 0x00, 0x08, 0x11
_COUNTED: Final = (_INST_RETIRED, _CPU_CYCLES)
_COMMON_EVENTS: Final = sum(1 << event for event in (_SW_INCR, *_COUNTED))  # PMCEID0_EL0
_E, _P, _C, _D, _LC = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6  # PMCR_EL0
_KEPT: Final = _E | _D | 1 << 4 | 1 << 5 | _LC  # with X and DP
_IDENTITY: Final = 0x41 << 24 | 1 << 16 | COUNTERS << 11  # Arm, Cortex-A57
_FILTERS: Final = 0xF800_0000  # P, U, NSK, NSU, NSH of PMEVTYPER<n>_EL0 and PMCCFILTR_EL0
_EN, _SW, _CR, _ER = 1 << 0, 1 << 1, 1 << 2, 1 << 3  # PMUSERENR_EL0


class Pmu:
    """The counters and their registers. `executed` gives the count of instructions.

    `interrupt` drives the overflow interrupt. `changed` is called when the work to do between slices has changed.
    """

    STATE: ClassVar = {
        **dict.fromkeys(("control", "enabled", "overflow", "interrupts"), integer(U32)),
        "select": integer(32),
        "user": integer(16),
        "types": several(integer(U32), COUNTERS + 1, COUNTERS + 1),
        "counters": several(integer(U64), COUNTERS + 1, COUNTERS + 1),
        "fraction": integer(64),
        "base": integer(U63),
        "level": integer(2),
        "following": boolean,
    }

    def __init__(
        self,
        name: str,
        state: StateRegistry,
        executed: Callable[[], int],
        interrupt: Callable[[bool], None],
        changed: Callable[[], None],
    ) -> None:
        self._executed, self._interrupt, self._changed = executed, interrupt, changed
        self.control = 0  # PMCR_EL0
        self.enabled = 0  # these three: one bit per counter
        self.overflow = 0
        self.interrupts = 0
        self.select = 0
        self.user = 0  # PMUSERENR_EL0
        self.types = [0] * (COUNTERS + 1)  # in both lists, the last is the cycle counter's
        self.counters = [0] * (COUNTERS + 1)
        self.fraction = 0  # of 64 cycles, with PMCR_EL0.D
        self.base = 0  # the count of instructions at which the counters were last updated
        self.level = 1  # the exception level since then
        self.following = False  # a counter counts only at EL0 or only at EL1: call `follow` at each change of level
        state.join(name, self, Order.DEVICES)

    # Counting.

    def _numbers(self) -> list[int]:
        """The counters that count instructions now, at any exception level."""
        if not self.control & _E:
            return []
        return [
            number
            for number in range(COUNTERS + 1)
            if self.enabled >> _bit(number) & 1 and (number == COUNTERS or self.types[number] & 0x3FF in _COUNTED)
        ]

    def _counts_at(self, number: int, level: int) -> bool:
        """Whether a counter's filter lets it count at `level` in the Non-secure state (D7.9.1)."""
        kind = self.types[number]
        off, not_secure = (kind >> 31, kind >> 29) if level else (kind >> 30, kind >> 28)
        return not (off ^ not_secure) & 1

    def follow(self, level: int) -> None:
        """Count at exception level `level` from now on."""
        if level != self.level:
            self.synchronize()
            self.level = level

    def synchronize(self) -> None:
        """Bring the counters up to now, and drive the interrupt."""
        now = self._executed()
        passed, self.base = now - self.base, now
        for number in self._numbers() if passed else ():
            if self._counts_at(number, self.level):
                self._add(number, passed)
        self._drive()

    def _add(self, number: int, count: int) -> None:
        if number == COUNTERS and self.control & _D:
            count, self.fraction = divmod(self.fraction + count, 64)
        before = self.counters[number]
        after = before + count
        width = self._width(number)
        if after >> width != before >> width:
            self.overflow |= 1 << _bit(number)
        self.counters[number] = after & (1 << (64 if number == COUNTERS else 32)) - 1

    def _width(self, number: int) -> int:
        """The bits of a counter after which it overflows; the cycle counter has 64 in any case."""
        return 64 if number == COUNTERS and self.control & _LC else 32

    def _drive(self) -> None:
        self._interrupt(bool(self.control & _E and self.overflow & self.interrupts))

    def until_overflow(self) -> int | None:
        """The instructions (at least 1) until the earliest possible overflow interrupt; None if none can come."""
        if not self.control & _E or not self.interrupts:
            return None
        self.synchronize()
        ahead = []
        for number in self._numbers():
            if self.interrupts >> _bit(number) & 1:
                width = self._width(number)
                left = (1 << width) - (self.counters[number] & (1 << width) - 1)
                ahead.append(left * 64 - self.fraction if number == COUNTERS and self.control & _D else left)
        return min(ahead, default=None)

    # The registers, for RegisterAccess.

    def allows_el0(self, register: Encoding, writes: bool) -> bool:
        """Whether PMUSERENR_EL0 lets EL0 make an access."""
        if not _is_pmu(register) or register.op1 != 3:
            return False
        name = register.crn, register.crm, register.op2
        if name == (9, 14, 0):  # PMUSERENR_EL0 itself
            return not writes
        allowed = self.user & _EN
        if name == (9, 12, 4):  # PMSWINC_EL0
            allowed |= self.user & _SW
        elif name == (9, 13, 0) and not writes:  # PMCCNTR_EL0
            allowed |= self.user & _CR
        elif name == (9, 12, 5) or (not writes and (name == (9, 13, 2) or (register.crn == 14 and register.crm < 12))):
            allowed |= self.user & _ER  # PMSELR_EL0; PMXEVCNTR_EL0 and PMEVCNTR<n>_EL0
        return bool(allowed)

    def read(self, register: Encoding) -> int | None:
        """A register of the performance monitors; None for others."""
        if not _is_pmu(register):
            return None
        self.synchronize()
        if register.crn == 14:
            number = _number((register.crm & 3) << 3 | register.op2)
            if number is None:
                return 0
            return self.types[number] if register.crm & 4 else self.counters[number]
        selected = _number(self.select)
        match register.op1, register.crm, register.op2:
            case 3, 12, 0:
                return _IDENTITY | self.control
            case 3, 12, 1 | 2:
                return self.enabled
            case 3, 12, 3:
                return self.overflow
            case 3, 12, 5:
                return self.select
            case 3, 12, 6:
                return _COMMON_EVENTS
            case 3, 13, 0:
                return self.counters[COUNTERS]
            case 3, 13, 1:
                return 0 if selected is None else self.types[selected]
            case 3, 13, 2:
                return 0 if selected in (None, COUNTERS) else self.counters[selected]
            case 3, 14, 0:
                return self.user
            case 3, 14, 3:
                return self.overflow
            case 0, 14, 1 | 2:
                return self.interrupts
        return 0  # PMSWINC_EL0 is write-only; PMCEID1_EL0 lists no events

    def write(self, register: Encoding, value: int) -> bool:
        """Write a register of the performance monitors; False for others."""
        if not _is_pmu(register):
            return False
        self.synchronize()
        if register.crn == 14:
            number = _number((register.crm & 3) << 3 | register.op2)
            if number is not None:
                self._set(number, value, kind=bool(register.crm & 4))
        else:
            self._write(register.op1, register.crm, register.op2, value)
        self._drive()
        numbers = self._numbers()
        self.following = any(self._counts_at(number, 0) != self._counts_at(number, 1) for number in numbers)
        self._changed()
        return True

    def _write(self, op1: int, crm: int, op2: int, value: int) -> None:
        selected = _number(self.select)
        match op1, crm, op2:
            case 3, 12, 0:
                self.control = value & _KEPT
                if value & _P:
                    self.counters[:COUNTERS] = [0] * COUNTERS
                if value & _C:
                    self.counters[COUNTERS] = self.fraction = 0
            case 3, 12, 1:
                self.enabled |= value & _ALL
            case 3, 12, 2:
                self.enabled &= ~value
            case 3, 12, 3:
                self.overflow &= ~value
            case 3, 12, 4:
                for number in range(COUNTERS):
                    counts = self.control & _E and self.enabled >> number & 1 and self._counts_at(number, self.level)
                    if value >> number & 1 and counts and self.types[number] & 0x3FF == _SW_INCR:
                        self._add(number, 1)
            case 3, 12, 5:
                self.select = value & 31
            case 3, 13, 0:
                self._set(COUNTERS, value, kind=False)
            case 3, 13, 1 if selected is not None:
                self._set(selected, value, kind=True)
            case 3, 13, 2 if selected not in (None, COUNTERS):
                self._set(selected, value, kind=False)
            case 3, 14, 0:
                self.user = value & 15
            case 3, 14, 3:
                self.overflow |= value & _ALL
            case 0, 14, 1:
                self.interrupts |= value & _ALL
            case 0, 14, 2:
                self.interrupts &= ~value

    def _set(self, number: int, value: int, kind: bool) -> None:
        """Set the type of a counter (if `kind`) or its value."""
        if kind:
            self.types[number] = value & (_FILTERS if number == COUNTERS else _FILTERS | 0xFFFF)
        else:
            self.counters[number] = value & (1 << (64 if number == COUNTERS else 32)) - 1


def _bit(number: int) -> int:
    return CYCLES if number == COUNTERS else number


def _number(name: int) -> int | None:
    """The counter that PMSELR_EL0 or a register's number selects; None if it does not exist."""
    return COUNTERS if name == CYCLES else name if name < COUNTERS else None


def _is_pmu(register: Encoding) -> bool:
    op0, op1, crn, crm, _ = register
    if op0 != 3:
        return False
    if crn == 9:
        return (op1 == 3 and crm in (12, 13, 14)) or (op1 == 0 and crm == 14)
    return op1 == 3 and crn == 14 and crm >= 8
