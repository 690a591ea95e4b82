# SPDX-License-Identifier: GPL-2.0-or-later
"""Who called whom: the chain of frame records on a guest's stack (AAPCS64, 6.4.6, "The Frame Pointer").

As the kernel's own (arch/arm64/kernel/stacktrace.c), but that a function's caller is also found where the function has
no frame record yet or any more, as at a probe on its entry, and that the code which an exception has interrupted goes
on being followed with the registers saved at the exception.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from armprobe.kernel.call_frames import has_record
from armprobe.machine import Machine, MachineError, Symbols

from .errors import ProbeError
from .kretprobe import KretprobeInstance
from .pt_regs import PT_REGS_SIZE, STACKFRAME, PtRegs, SavedRegs
from .record import Hit
from .text import Text
from .unwind import Unwind

_MOST: Final = 200  # frames: whatever is on the stack, the walk ends
_MOST_STACKS: Final = 4  # a task's, and what the kernel switches to: for interrupts, for overflows, for SDEI
_STACK: Final = 16 << 10  # bytes (THREAD_SIZE): records of one stack are nearer to each other, of two stacks farther
_LARGEST_FUNCTION: Final = 1 << 20  # bytes
_SAVED: Final = struct.Struct("<34Q")  # x0 to x30, sp, pc, pstate
_MODE: Final = 0xF
_EL1H: Final = 5
# Where in pt_regs the frame record of an exception is, and how much pt_regs are. Since v6.13 there is also what kind of
# record it is (commit c2c6b27b5aa1); v6.18 took two words from the end (commit ee776d68ba47).
_LAYOUTS: Final = ((STACKFRAME, PT_REGS_SIZE), (STACKFRAME - 8, PT_REGS_SIZE), (STACKFRAME - 8, PT_REGS_SIZE - 16))


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

    def __init__(self, machine: Machine, text: Text, unwind: Unwind) -> None:
        self._machine = machine
        self._text = text
        self._unwind = unwind
        unwind.records = self._records

    def backtrace(self, hit: Hit | None, outstanding: Iterable[KretprobeInstance]) -> Backtrace:
        """Of the code that the guest is stopped in, or that `hit` was in; see `Kprobes.backtrace`."""
        regs: PtRegs = self._registers()
        if hit is not None and hit.instructions != self._machine.instructions:
            if not any((call.rp, call.number) == (hit.probe, hit.number) for call in outstanding):
                raise ProbeError(
                    errno.ESTALE,
                    f"the guest has gone on since hit {hit.number} of the {hit.probe.kind} {hit.probe.name}, and what "
                    "was on its stack then is not kept: have the guest stop there to look (stop=)",
                )
            regs = hit.regs
        frames: list[CallFrame] = []
        end = self._walk(regs, frames, [])
        return Backtrace(frames, end)

    def _records(self) -> list[int]:
        records: list[int] = []
        self._walk(self._registers(), [], records)
        return records

    def _registers(self) -> SavedRegs:
        """The CPU's, with x30 as it would be without kretprobes; in a return handler those of the caller."""
        if self._unwind.returning is not None:
            return self._unwind.returning
        cpu = self._machine.registers
        general = [cpu.x[i] for i in range(30)]
        return SavedRegs((*general, self._unwind.x30, cpu.sp, cpu.pc, cpu.pstate))

    def _walk(self, regs: PtRegs, frames: list[CallFrame], records: list[int]) -> str:
        stacks = 1
        while True:
            el0 = regs.pstate & _MODE == 0
            frames.append(CallFrame(regs.pc, False, el0))
            if self._x30_is_live(regs):
                caller = self._unwind.caller(regs.regs[30], regs.sp)
                if self._is_code(caller, el0):
                    frames.append(CallFrame(caller, True, el0))
            record = regs.regs[29]
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
                interrupted = None if el0 else self._interrupted(record, following, caller)
                if interrupted is not None:
                    regs = interrupted
                    break
                if not following and not caller:
                    return ""
                if not self._is_code(caller, el0):
                    return f"the frame record at {record:#x} has {caller:#x} as return address, where no code is"
                frames.append(CallFrame(caller, True, el0))
                record = following

    def _read(self, address: int, size: int) -> bytes:
        return self._unwind.unwound(address, self._machine.memory.read(address, size))

    def _interrupted(self, record: int, following: int, caller: int) -> PtRegs | None:
        """The registers saved at an exception, if the record is that of the pt_regs in which they are.

        It lies below the stack pointer of the interrupted kernel code, or at the very end of the task's stack.
        """
        for offset, size in _LAYOUTS:
            base = record - offset
            try:
                saved = _SAVED.unpack(self._machine.memory.read(base, _SAVED.size))
            except MachineError:
                continue
            regs = SavedRegs(saved)
            fits = (following, caller) in ((0, 0), (regs.regs[29], regs.pc))
            if not fits or regs.pc % 4:
                continue
            mode = regs.pstate & 0x1F
            if mode == _EL1H and regs.sp == base + size and self._is_code(regs.pc, el0=False):
                return regs
            if mode == 0 and (following, caller) == (0, 0) and self._is_code(regs.pc, el0=True):
                return regs
        return None

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

    def _x30_is_live(self, regs: PtRegs) -> bool:
        """Whether x30 is where the innermost function returns to, rather than what its last call left there.

        A function that keeps no frame record is taken to be a leaf, unless x30 leads back into it.
        """
        symbols, pc = self._machine.symbols, regs.pc
        found = symbols.at(pc)
        if found is None:
            return regs.pstate & _MODE != 0
        symbol, offset = found
        try:
            code = self._text.read(symbol.address, min(symbol.size, _LARGEST_FUNCTION))
        except MachineError:
            return False
        code = self._text.unpatched(symbol.address, code)
        kept = has_record(code, offset)
        if kept is not None:
            return not kept
        back = symbols.at(regs.regs[30] - 4)
        return back is None or back[0] != symbol
