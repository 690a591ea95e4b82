# SPDX-License-Identifier: GPL-2.0-or-later
"""Backtraces: the chain of frame records on a guest's stack (AAPCS64, 6.4.6, "The Frame Pointer").

Like the kernel's unwinder (arch/arm64/kernel/stacktrace.c), but also finds a function's caller before the function has
set up its frame record, as at a probe on its entry, or after it has removed it. From the frame record of an exception
the walk continues with the registers saved there.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Protocol

from armprobe.kernel.exception_frame import Registers, interrupted
from armprobe.kernel.task_list import CpuContext
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbols
from armprobe.machine.core.pstate import EL1H
from armprobe.machine.native.call_frames import has_record

_MOST: Final = 200  # frames: the walk ends whatever is on the stack
_MOST_STACKS: Final = 4  # the task's, and those for interrupts, for overflows and for SDEI
_STACK: Final = 16 << 10  # bytes (THREAD_SIZE): records of one stack are closer to each other than this
_LARGEST_FUNCTION: Final = 1 << 20  # bytes
_USER_END: Final = 1 << 52  # TTBR0 translates no higher addresses


class ReturnAddresses(Protocol):
    """Return addresses as they are without kretprobes, which replace them by the address of a trampoline."""

    def caller(self, address: int, sp: int) -> int:
        """The return address that `address` in x30 stands for, in a function entered with `sp` or a higher one."""

    def with_callers(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with the original return addresses in it."""


class CallFrame(NamedTuple):
    """One function that has been entered and has not returned.

    `pc` is where it continues; `called` says that this is a return address, that of the call which it has made. `el0`
    says that it is code of the task, not of the kernel.
    """

    pc: int
    called: bool
    el0: bool


class Backtrace(NamedTuple):
    """The frames, innermost first, and why the backtrace ends there; that is empty at an outermost function."""

    frames: list[CallFrame]
    end: str


def symbolised(symbols: Symbols, frame: CallFrame) -> str:
    """The place of a frame as the kernel prints it (%pSb): "kfree+0x10/0x190", with " [module]" after it.

    The address looked up is that of the call. The return address of a call that never returns may belong to the next
    function.
    """
    back = 4 if frame.called else 0
    found = symbols.at(frame.pc - back)
    if found is None:
        return f"{frame.pc:#x}"
    symbol, offset = found
    return f"{symbol.name}+{offset + back:#x}/{symbol.size:#x}{symbols.in_module(frame.pc - back)}"


class Walker:
    """Walks the stacks of one machine."""

    def __init__(self, machine: Machine, text: Text, return_addresses: ReturnAddresses) -> None:
        self._machine = machine
        self._text = text
        self._return_addresses = return_addresses

    def backtrace(self, registers: Registers) -> Backtrace:
        """The frames of the code that has these registers."""
        frames: list[CallFrame] = []
        end = self._walk(registers, frames, [])
        return Backtrace(frames, end)

    def blocked(self, context: CpuContext) -> Backtrace:
        """The frames of a task that is not running, up to the place at EL0 where it entered the kernel.

        The memory of the task at EL0 is not the one that is mapped now.
        """
        frames: list[CallFrame] = []
        # The return address of the function that `pc` is in is on the stack. With such an x30 none is taken from it.
        registers = Registers(context.fp, context.pc + 4, context.sp, context.pc, EL1H)
        end = self._walk(registers, frames, [], mapped=False)
        return Backtrace(frames, end)

    def records(self, registers: Registers) -> list[int]:
        """The virtual addresses of the frame records that `backtrace` follows."""
        records: list[int] = []
        self._walk(registers, [], records)
        return records

    def _walk(self, registers: Registers, frames: list[CallFrame], records: list[int], mapped: bool = True) -> str:
        """Follow the stack. `mapped`: whether the memory of the task at EL0 is mapped. Returns why it ends."""
        stacks = 1
        while True:
            el0 = registers.el0
            frames.append(CallFrame(registers.pc, False, el0))
            if el0 and not mapped:
                return ""
            if self._x30_is_live(registers):
                caller = self._return_addresses.caller(registers.x30, registers.sp)
                if self._is_code(caller, el0):
                    frames.append(CallFrame(caller, True, el0))
            record = registers.x29
            while True:
                if not record:
                    return ""
                if record % 8:
                    return f"the frame record is said to be at {record:#x}, which is not aligned"
                if record in records or len(frames) >= _MOST:
                    return f"the frame records run in a circle, or there are more than {_MOST}"
                if records and not 0 < record - records[-1] < _STACK:
                    stacks += 1
                    if abs(record - records[-1]) < _STACK or stacks > _MOST_STACKS:
                        return f"the frame record at {record:#x} comes after one at {records[-1]:#x}"
                try:
                    following, caller = struct.unpack("<QQ", self._read(record, 16))
                except MachineError as error:
                    return f"the frame record cannot be read: {error}"
                records.append(record)
                read = self._machine.memory.read
                is_code = self._is_code if mapped else self._may_be_code
                saved = None if el0 else interrupted(read, is_code, record, (following, caller), registers.sp)
                if saved is not None:
                    registers = saved
                    break
                if not following and not caller:
                    return ""
                if not self._is_code(caller, el0):
                    return f"the frame record at {record:#x} has {caller:#x} as return address, where no code is"
                frames.append(CallFrame(caller, True, el0))
                record = following

    def _read(self, address: int, size: int) -> bytes:
        return self._return_addresses.with_callers(address, self._machine.memory.read(address, size))

    def _is_code(self, address: int, el0: bool) -> bool:
        """Whether code of the kernel or of the task is at `address`, or was, since initialisation code is freed."""
        if address % 4 or not address:
            return False
        if not el0 and (found := self._machine.symbols.at(address - 4)) and found[0].kind == "function":
            return True
        try:
            mapping = self._machine.memory.translate(address)
        except MachineError:
            return False
        return mapping.user if el0 else mapping.executable

    def _may_be_code(self, address: int, el0: bool) -> bool:
        """Like `_is_code`, where the memory at EL0 is unknown."""
        return 0 < address < _USER_END if el0 else self._is_code(address, el0)

    def _x30_is_live(self, registers: Registers) -> bool:
        """Whether x30 is the innermost function's return address, rather than what its last call left there.

        A function that keeps no frame record is taken for a leaf, unless x30 leads back into it.
        """
        symbols, pc = self._machine.symbols, registers.pc
        found = symbols.at(pc)
        if found is None:
            return not registers.el0
        symbol, offset = found
        try:
            code = self._text.read(symbol.address, min(symbol.size, _LARGEST_FUNCTION))
        except MachineError:
            return False
        code = self._text.unpatched(symbol.address, code)
        kept = has_record(code, offset)
        if kept is not None:
            return not kept
        back = symbols.at(registers.x30 - 4)
        return back is None or back[0] != symbol
