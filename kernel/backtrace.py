# SPDX-License-Identifier: GPL-2.0-or-later
"""Who called whom: the chain of frame records on a guest's stack (AAPCS64, 6.4.6, "The Frame Pointer").

As the kernel's own (arch/arm64/kernel/stacktrace.c), but that a function's caller is also found where the function has
no frame record yet or any more, as at a probe on its entry, and that the code which an exception has interrupted goes
on being followed with the registers saved at the exception.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Protocol

from armprobe.kernel.call_frames import has_record
from armprobe.kernel.exception_frame import Registers, interrupted
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbols

_MOST: Final = 200  # frames: whatever is on the stack, the walk ends
_MOST_STACKS: Final = 4  # a task's, and what the kernel switches to: for interrupts, for overflows, for SDEI
_STACK: Final = 16 << 10  # bytes (THREAD_SIZE): records of one stack are nearer to each other, of two stacks farther
_LARGEST_FUNCTION: Final = 1 << 20  # bytes


class ReturnAddresses(Protocol):
    """What return addresses are without kretprobes, which put the trampoline's in their places."""

    def caller(self, address: int, sp: int) -> int:
        """The return address for which x30 has `address`, in a function entered with stack pointer `sp` or above."""

    def unwound(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with the return addresses in it put right."""


class CallFrame(NamedTuple):
    """One function that has been entered and not left.

    `pc` is where it will go on: for `called`, behind the call that it has made. `el0`: it is the task's, not the
    kernel's.
    """

    pc: int
    called: bool
    el0: bool


class Backtrace(NamedTuple):
    """The frames, innermost first; and why there are no more, empty if nobody called the last."""

    frames: list[CallFrame]
    end: str


def symbolised(symbols: Symbols, frame: CallFrame) -> str:
    """The place of a frame as the kernel prints it (%pSb): "kfree+0x10/0x190", with "[module]" behind it.

    What calls and never goes on has its return address in whatever follows: so that is looked up by the call itself.
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

    def records(self, registers: Registers) -> list[int]:
        """The virtual addresses of the frame records that `backtrace` follows."""
        records: list[int] = []
        self._walk(registers, [], records)
        return records

    def _walk(self, registers: Registers, frames: list[CallFrame], records: list[int]) -> str:
        stacks = 1
        while True:
            el0 = registers.el0
            frames.append(CallFrame(registers.pc, False, el0))
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
                saved = None if el0 else interrupted(read, self._is_code, record, (following, caller))
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
        return self._return_addresses.unwound(address, self._machine.memory.read(address, size))

    def _is_code(self, address: int, el0: bool) -> bool:
        """Whether there is an instruction of the kernel's or the task's, or was: initialisation code is thrown away."""
        if address % 4 or not address:
            return False
        if not el0 and (found := self._machine.symbols.at(address - 4)) and found[0].kind == "function":
            return True
        try:
            mapping = self._machine.memory.translate(address)
        except MachineError:
            return False
        return mapping.user if el0 else mapping.executable

    def _x30_is_live(self, registers: Registers) -> bool:
        """Whether x30 is where the innermost function returns to, rather than what its last call left there.

        A function that keeps no frame record is taken to be a leaf, unless x30 leads back into it.
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
