# SPDX-License-Identifier: GPL-2.0-or-later
"""Return addresses as they would be without kretprobes: for debuggers, and for backtraces.

While a kretprobe waits for a call, the call's return address is the trampoline's, in x30 or where the function has
saved it, and what unwinds the stack gets no further. So a debugger is shown the
caller's address in its place, just as it is not shown a probe's breakpoint in the text.

A stack grows downwards, and a function saves x30 below the stack pointer that it was entered with. Of the calls
outstanding, the one that a saved x30 belongs to is therefore that with the lowest such stack pointer above it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from armprobe.kernel.backtrace import Backtrace, Walker
from armprobe.kernel.exception_frame import Registers
from armprobe.kernel.text import Text
from armprobe.machine import Machine

from .errors import ProbeError
from .kretprobe import KretprobeInstance
from .kretprobe_engine import KretprobeEngine
from .pt_regs import PtRegs
from .record import Hit
from .recorder import Recorder

_LARGEST: Final = 64 << 10  # bytes of a kernel's stack, and so of a frame
_WORD: Final = struct.Struct("<Q")


class _Rewritten(NamedTuple):
    """A debugger wrote to x30, which led `call` to the trampoline, while the PC and the stack pointer were these."""

    call: KretprobeInstance
    pc: int
    sp: int


class Unwind:
    """How one machine's memory and x30 are shown, and what writing to what is shown comes to."""

    def __init__(self, machine: Machine, text: Text, returns: KretprobeEngine, recorder: Recorder) -> None:
        self._machine = machine
        self._returns = returns
        self._recorder = recorder
        self._rewritten: list[_Rewritten] = []
        self._walker = Walker(machine, text, self)

    def backtrace(self, hit: Hit | None) -> Backtrace:
        """Of the code that the guest is stopped in, or that `hit` was in; see `Kprobes.backtrace`."""
        if hit is None or hit.instructions == self._machine.instructions:
            return self._walker.backtrace(self._registers())
        outstanding = self._returns.instances.outstanding()
        if not any((call.rp, call.number) == (hit.probe, hit.number) for call in outstanding):
            raise ProbeError(
                errno.ESTALE,
                f"the guest has gone on since hit {hit.number} of the {hit.probe.kind} {hit.probe.name}, and what "
                "was on its stack then is not kept: have the guest stop there to look (stop=)",
            )
        return self._walker.backtrace(_registers_of(hit.regs))

    def _registers(self) -> Registers:
        """The CPU's, with x30 as it would be without kretprobes; in a return handler those of the caller."""
        if self._returns.returning is not None:
            return _registers_of(self._returns.returning)
        cpu = self._machine.registers
        return Registers(cpu.x[29], self.x30, cpu.sp, cpu.pc, cpu.pstate)

    def caller(self, address: int, sp: int) -> int:
        """What is at `address`: where the function returns to that was entered with `sp` or with a stack pointer above.

        `address` itself, unless that is the trampoline's.
        """
        call = self._call(sp) if address == self._returns.trampoline else None
        return address if call is None else call.ret_addr

    # Memory

    def with_callers(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with callers' addresses for the trampoline's."""
        if not self._may_have_taken(address, len(data)):
            return data
        first, words = self._words(address, data)
        for at, call in self._taken(first, words):
            _WORD.pack_into(words, at, call.ret_addr)
        return bytes(words[address - first : address - first + len(data)])

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at virtual `address` of memory that is seen as `with_callers` shows it.

        Nothing is changed by writing back what was read. Another return address put into a frame record of the current
        stack is where the call returns to, after the kretprobe. Other words are written as they are.
        Raises MachineError as `Memory.write` does.
        """
        memory = self._machine.memory
        if self._may_have_taken(address, len(data)):
            first, words = self._words(address, memory.read(address, len(data)))
            taken = list(self._taken(first, words))
            if taken:
                for at, call in taken:
                    _WORD.pack_into(words, at, call.ret_addr)
                words[address - first : address - first + len(data)] = data
                for at, call in taken:
                    (value,) = _WORD.unpack_from(words, at)
                    if value != call.ret_addr and first + at - 8 in self._walker.records(self._registers()):
                        self._returns.instances.redirect(call, value)
                    if value == call.ret_addr:
                        _WORD.pack_into(words, at, self._returns.trampoline)
                address, data = first, bytes(words)
        memory.write(address, data)

    def _may_have_taken(self, address: int, length: int) -> bool:
        """Whether there may be a return address. Where there cannot be one there may be a device, which minds reads."""
        sp = self._returns.instances.above(address + 1)
        return sp is not None and sp <= address + length + _LARGEST

    def _words(self, address: int, data: bytes) -> tuple[int, bytearray]:
        """`data` from `address` and what completes its first and last doubleword; the address of that."""
        memory, end = self._machine.memory, address + len(data)
        first, last = address & ~7, -(-end // 8) * 8
        return first, bytearray(memory.read(first, address - first) + data + memory.read(end, last - end))

    def _taken(self, first: int, words: bytearray) -> Iterator[tuple[int, KretprobeInstance]]:
        """The offsets in `words`, from virtual address `first`, of the trampoline's address, and the calls it is of."""
        trampoline = _WORD.pack(self._returns.trampoline)
        sp = self._machine.registers.sp
        at = words.find(trampoline)
        while at >= 0:
            if at % 8 == 0:
                call = self._call(first + at + 8)
                # Below the stack pointer it is left over from a call that has returned.
                if call is not None and not first + at < sp <= call.sp:
                    yield at, call
            at = words.find(trampoline, at + 1)

    def _call(self, sp: int) -> KretprobeInstance | None:
        """The call that was entered with the lowest stack pointer not below `sp`, if it can be on the same stack."""
        instances = self._returns.instances
        entered = instances.above(sp)
        return None if entered is None or entered - sp > _LARGEST else instances.last(entered, self._returns.trampoline)

    # x30

    @property
    def x30(self) -> int:
        """x30, with the caller's address for the trampoline's; at the stage `return`, what the function left in it."""
        registers = self._machine.registers
        value = registers.x[30]
        if value != self._returns.trampoline:
            return value
        hit = self._recorder.stopped_for
        if hit is not None and (hit.caller, hit.instructions) == (registers.pc, self._machine.instructions):
            return registers.pc
        return self.caller(value, registers.sp)

    @x30.setter
    def x30(self, value: int) -> None:
        """Write to x30 as it is shown. What that comes to is seen when the guest goes on, see `before_resume`."""
        registers = self._machine.registers
        if value == self.x30:
            return
        if registers.x[30] == self._returns.trampoline:
            call = self._call(registers.sp)
            if call is not None:
                self._rewritten.append(_Rewritten(call, registers.pc, registers.sp))
        registers.x[30] = value

    def before_resume(self) -> None:
        """To be called before the guest goes on after a debugger may have written to its registers.

        A debugger that calls a function writes x30, the PC and the stack pointer, and puts all of them back after it.
        Where only x30 is another, that is where the call returns to. Where the PC and the stack pointer are what they
        would be after a return, the debugger has made the function return, and nothing is waited for.
        """
        registers, instances = self._machine.registers, self._returns.instances
        outstanding = instances.outstanding()
        self._rewritten = [each for each in self._rewritten if any(each.call is call for call in outstanding)]
        place = registers.pc, registers.sp
        for number, (call, *was) in enumerate(self._rewritten):
            if tuple(was) == place:
                value = registers.x[30]
                if value not in (call.ret_addr, self._returns.trampoline):
                    instances.redirect(call, value)
                registers.x[30] = self._returns.trampoline
                del self._rewritten[number:]
                break
        left = instances.last(registers.sp, self._returns.trampoline)
        if left is not None and left.ret_addr == registers.pc:
            self._returns.abandon(registers.sp)
            if registers.x[30] == self._returns.trampoline:
                registers.x[30] = registers.pc


def _registers_of(regs: PtRegs) -> Registers:
    return Registers(regs.regs[29], regs.regs[30], regs.sp, regs.pc, regs.pstate)
