# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells when a Linux guest panics, oopses or warns: its own functions for that are watched.

panic() has the format of its message and the arguments (kernel/panic.c). die() has the kind of an oops and the
registers of the code that caused it (arch/arm64/kernel/traps.c); what else there is to say has been put into the log
before, as alerts. BUG() ends in die(), too. __warn() has file and line of a WARN() (kernel/panic.c), whose own message,
if any, follows the line "cut here" in the log.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from armprobe.machine import Machine, MachineError
from armprobe.machine.core.effective_address import effective_address
from armprobe.machine.core.exceptions import Raised
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.state import Order

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

    from .kernel import Linux
    from .log import LogRecord
    from .tasks import Task

_ALERT: Final = 2  # KERN_CRIT, and below it KERN_ALERT and KERN_EMERG
_DETAILS: Final = "Mem abort info"  # the syndrome, decoded (arch/arm64/mm/fault.c)
_MOST_LINES: Final = 5
_CUT_HERE: Final = "[ cut here ]"
_LONGEST: Final = 1024  # of a message; the buffer of panic() has that size
_FAULT: Final = re.compile(r"at virtual address ([0-9a-f]{16})")
_PT_REGS: Final = 34  # doublewords: x0 to x30, sp, pc, pstate (struct user_pt_regs)
_BLR: Final = 0xD63F_0000, 0xFFFF_FC1F  # the instruction without the register, and the mask (Arm ARM, C6.2)
_FAULTS: Final = 16  # that are remembered: other tasks may run before die() is called
_NEAR: Final = 16  # bytes: the longest access of one instruction


class CrashKind(enum.Enum):
    """What the kernel reports."""

    PANIC = "panic"
    OOPS = "oops"
    WARNING = "warning"


@lazy_dataclass
class Crash:
    """A report of the kernel's.

    message: its own words, in lines. pc, lr: of the code that is in error, or that called panic(). task: the running
    one, if it can be read. register: the one, with its value, that the address of an access or a branch that faulted
    comes from; None if it is not known. position: that at which the instruction that faulted, or that branched to where
    there is no code, has yet to be executed; None if it is not known.
    """

    kind: CrashKind
    message: tuple[str, ...]
    pc: int
    lr: int | None
    task: Task | None
    register: tuple[str, int] | None
    position: int | None


class Crashes:
    """Calls a listener with each crash of the kinds that are watched, between two instructions of the guest's."""

    def __init__(self, kernel: Linux) -> None:
        self._kernel, self._machine = kernel, kernel.machine
        self._watched: dict[int, Callable[[Machine], None]] = {}
        self._listener: Callable[[Crash], None] = _ignore
        self._format = self._caller = 0  # of the panic whose message is being made
        self._waiting: tuple[int, Callable[[Machine], None]] | None = None
        self._faults: deque[tuple[int, int]] = deque(maxlen=_FAULTS)  # of the kernel's own: the PC, and the position
        self._claimed = False
        self._machine.state.on_restored(Order.GUEST, lambda: self._wait_at(None, _nothing))

    @property
    def available(self) -> bool:
        """Whether the kernel's symbols have the functions that are watched."""
        return self._machine.symbols.in_kernel("panic") is not None

    def watch(self, kinds: Sequence[CrashKind], listener: Callable[[Crash], None]) -> None:
        """Watch crashes of these kinds, and no others."""
        for address, function in self._watched.items():
            self._machine.unintercept(address, function)
        self._watched.clear()
        self._listener = listener
        if not self._claimed:
            self._claimed = True
            self._machine.claim_fault(self._faulted)
        entered = {
            CrashKind.PANIC: ("panic", self._panic),
            CrashKind.OOPS: ("die", self._die),
            CrashKind.WARNING: ("__warn", self._warn),
        }
        for kind in kinds:
            name, function = entered[kind]
            self._watch(name, function)

    def _faulted(self, core: Core, raised: Raised, syndrome: int, address: int) -> bool:
        """Note a fault of the kernel's: what die() says of it comes much later."""
        # The instruction that faulted counts; one that could not be fetched does not, but the branch to it does.
        self._faults.append((core.context.pc, self._machine.instructions - 1))
        return False

    def _watch(self, name: str, function: Callable[[Machine], None]) -> None:
        symbol = self._machine.symbols.in_kernel(name)
        if symbol is not None:
            self._watched[symbol.address] = function
            self._machine.intercept(symbol.address, function)

    def _wait_at(self, address: int | None, function: Callable[[Machine], None]) -> None:
        """Call `function` at `address`, and wait nowhere else for the message that panic() makes."""
        if self._waiting is not None:
            self._machine.unintercept(*self._waiting)
        self._waiting = None if address is None else (address, function)
        if address is not None:
            self._machine.intercept(address, function)

    def _panic(self, machine: Machine) -> None:
        """Wait until panic() has made its message, by vscnprintf(buffer, size, format, arguments)."""
        x, symbol = machine.core.load().x, machine.symbols.in_kernel("vscnprintf")
        self._format, self._caller = x[0], x[30]
        if symbol is None:
            self._panicked(x[0])
        else:
            self._wait_at(symbol.address, self._formatting)

    def _formatting(self, machine: Machine) -> None:
        x = machine.core.load().x
        buffer, form, back = x[0], x[2], x[30]
        if form == self._format:
            self._wait_at(back, lambda _: self._panicked(buffer))
        else:
            self._panicked(self._format)

    def _panicked(self, message: int) -> None:
        self._wait_at(None, _nothing)
        lines = [f"Kernel panic - not syncing: {self._text(message)}"]
        self._tell(CrashKind.PANIC, lines, self._caller - 4, None)  # it does not return

    def _die(self, machine: Machine) -> None:
        x = machine.core.load().x
        what, regs = f"Internal error: {self._text(x[0])}", self._registers(x[1])
        alerts = self._last(lambda record: record.level > _ALERT and _CUT_HERE not in record.text)
        pc, lr = (regs[32], regs[30]) if regs else (x[30], None)
        fault = next((int(found[1], 16) for line in alerts if (found := _FAULT.search(line))), None)
        said = itertools.takewhile(lambda line: not line.startswith(_DETAILS), alerts[:_MOST_LINES])
        position = next((position for at, position in reversed(self._faults) if at == pc), None)
        self._tell(CrashKind.OOPS, [*said, what], pc, lr, self._source(regs, fault), position)

    def _warn(self, machine: Machine) -> None:
        x = machine.core.load().x
        regs = self._registers(x[4])
        place = f"{self._text(x[0])}:{x[1] & 0xFFFF_FFFF}" if x[0] else "an unnamed place"
        said = self._last(lambda record: _CUT_HERE in record.text)
        self._tell(CrashKind.WARNING, [f"WARNING at {place}", *said], x[2], regs[30] if regs else None)

    def _tell(
        self,
        kind: CrashKind,
        lines: list[str],
        pc: int,
        lr: int | None,
        register: tuple[str, int] | None = None,
        position: int | None = None,
    ) -> None:
        self._listener(Crash(kind, tuple(lines), pc, lr, self._kernel.tasks.current(), register, position))

    def _text(self, address: int) -> str:
        try:
            return self._machine.memory.read_string(address, _LONGEST).decode("utf-8", "replace").rstrip("\n")
        except MachineError:
            return "(its text cannot be read)"

    def _registers(self, address: int) -> list[int] | None:
        """x0 to x30, sp, pc and pstate in a struct pt_regs."""
        try:
            data = self._machine.memory.read(address, 8 * _PT_REGS)
        except MachineError:
            return None
        return list(memoryview(data).cast("Q"))

    def _last(self, before: Callable[[LogRecord], bool]) -> list[str]:
        """The messages in the log behind the last record for which `before` is true."""
        try:
            records = self._kernel.log()
        except MachineError:
            return []
        start = max((number for number, record in enumerate(records, 1) if before(record)), default=0)
        lines = [line for record in records[start:] for line in record.text.split("\n")]
        return [line for line in lines if _CUT_HERE not in line]

    def _source(self, regs: list[int] | None, fault: int | None) -> tuple[str, int] | None:
        """The register that the address `fault` comes from: the base register of an access, or a branch's."""
        if regs is None or fault is None:
            return None
        if regs[32] == fault:
            return self._branched(regs)
        try:
            word = self._machine.memory.u32(regs[32])
        except MachineError:
            return None
        address, number = effective_address(word, regs), word >> 5 & 31
        if address is None or not 0 <= fault - address < _NEAR:
            return None
        return ("sp" if number == 31 else f"x{number}"), regs[number]

    def _branched(self, regs: list[int]) -> tuple[str, int] | None:
        """The register of the branch to the PC: that of the BLR that x30 is behind, or else the only one with it."""
        pc, numbers = regs[32], [number for number in range(31) if regs[number] == regs[32]]
        with contextlib.suppress(MachineError):
            word = self._machine.memory.u32((regs[30] - 4) % (1 << 64))
            if word & _BLR[1] == _BLR[0] and (word >> 5 & 31) in numbers:
                numbers = [word >> 5 & 31]
        return (f"x{numbers[0]}", pc) if len(numbers) == 1 else None


def _ignore(crash: Crash) -> None:
    """Nobody listens."""


def _nothing(machine: Machine) -> None:
    """Nothing is waited for."""
