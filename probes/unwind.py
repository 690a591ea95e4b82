# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows return addresses as they would be without kretprobes, to debuggers and in backtraces.

While a kretprobe waits for a call, the trampoline's address replaces the call's return address, in x30 or where the
function has saved it. Unwinding the stack would end there. So a debugger sees the caller's address in its place, just
as it does not see a probe's breakpoint in the text.

A stack grows downwards, and a function saves x30 below the stack pointer that it was entered with. A saved x30
therefore belongs to the outstanding call with the lowest such stack pointer above it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from armprobe.kernel.backtrace import Backtrace, Walker
from armprobe.kernel.exception_frame import Registers, marked
from armprobe.kernel.task_list import CpuContext
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.aggregate import STACK_DEPTH
from armprobe.machine.native.call_frames import has_record
from armprobe.machine.native.pages import PAGE

from .errors import ProbeError
from .kretprobe import KretprobeInstance
from .kretprobe_engine import KretprobeEngine
from .pt_regs import PtRegs
from .record import Hit
from .recorder import Recorder

_LARGEST: Final = 64 << 10  # bytes: limit of a kernel's stack, and so of a frame
_WORD: Final = struct.Struct("<Q")


class _Rewritten(NamedTuple):
    """A debugger's write to x30, which held the trampoline's address for `call`, with the PC and stack pointer then."""

    call: KretprobeInstance
    pc: int
    sp: int


class Unwind:
    """Shows one machine's memory and x30 without kretprobes, and translates writes to them."""

    def __init__(self, machine: Machine, text: Text, returns: KretprobeEngine, recorder: Recorder) -> None:
        self._machine, self._text = machine, text
        self._returns = returns
        self._recorder = recorder
        self._rewritten: list[_Rewritten] = []
        self._walker = Walker(machine, text, self)

    def backtrace(self, hit: Hit | None) -> Backtrace:
        """The callers of the code that the guest is stopped in, or that `hit` was in. See `Kprobes.backtrace`."""
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

    def blocked(self, context: CpuContext) -> Backtrace:
        """The callers of the code that a task which is not running is in."""
        return self._walker.blocked(context)

    def _registers(self) -> Registers:
        """The CPU's registers, with x30 as it would be without kretprobes. In a return handler, those of the caller."""
        if self._returns.returning is not None:
            return _registers_of(self._returns.returning)
        cpu = self._machine.registers
        return Registers(cpu.x[29], self.x30, cpu.sp, cpu.pc, cpu.pstate)

    def caller(self, address: int, sp: int) -> int:
        """`address` itself, or the return address that it replaces if it is the trampoline's.

        The return address is that of the call entered with `sp`, or else with the next higher stack pointer.
        """
        call = self._call(sp) if address == self._returns.trampoline else None
        return address if call is None else call.ret_addr

    # Memory

    def records(self, head: Iterable[int], fp: int) -> list[int]:
        """The addresses in `head`, and the return addresses in the frame records from `fp`, an x29, on.

        The kernel's own unwinder has the same (arch/arm64/kernel/stacktrace.c), and so has the C core.
        """
        found = [*head]
        while len(found) < STACK_DEPTH and fp and not fp & 7:
            record = self._machine.core.read_virtual(fp, 16)
            if record is None:
                break
            following, address = int.from_bytes(record[:8], "little"), int.from_bytes(record[8:], "little")
            if address:
                found.append(self.caller(address, fp + 16))
            elif following or (saved := marked(self._machine.core.read_virtual, fp)) is None:
                break
            else:
                following, address = saved
                found.append(address)
            fp = following
        return found

    def is_framed(self, address: int) -> bool:
        """Whether the function there has its frame record, at x29: x30 is then not what it returns to."""
        found = self._machine.symbols.at(address)
        if found is None:
            return False
        symbol, offset = found
        code = self._text.unpatched(symbol.address, self._text.read(symbol.address, symbol.size))
        return bool(has_record(code, offset))

    def within(self, address: int) -> tuple[int, ...]:
        """The head of the stack at an event that happens at `address`, for `records`."""
        return (address,) if self.is_framed(address) else (address, self.x30)

    def with_callers(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with the callers' addresses in place of the trampoline's."""
        returns = self._returns
        if not returns.trampoline or not returns.instances.any or not self._may_have_taken(address, len(data)):
            return data
        first, words = self._words(address, data)
        for at, call in self._taken(first, words):
            _WORD.pack_into(words, at, call.ret_addr)
        return bytes(words[address - first : address - first + len(data)])

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at virtual `address` of memory that is seen as `with_callers` shows it.

        Writing back what was read changes nothing. A new return address in a frame record of the current stack becomes
        the address that the call returns to, after the kretprobe. Other words are written unchanged. Raises
        MachineError as `Memory.write` does.
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

    def give_back(self) -> bool:
        """Give all outstanding calls their return addresses back. They return without the trampoline then.

        Returns False, and changes nothing, if it is not known where one is kept, and for a call with guest memory,
        which the trampoline frees.
        """
        registers, instances = self._machine.registers, self._returns.instances
        x30 = self.x30
        in_x30 = self._call(registers.sp) if x30 != registers.x[30] else None
        found: dict[int, int] = {}
        entered = sorted({call.sp for call in instances.outstanding()})
        for sp, inner in zip(entered, [0, *entered], strict=False):
            call = instances.last(sp, self._returns.trampoline)
            first, words = self._below(sp, max(inner, sp - _LARGEST))
            kept = {first + at: call.ret_addr for at, call in self._taken(first, words)}
            if call is None or call.memory or not (kept or call is in_x30):
                return False
            found |= kept
        for address, value in found.items():
            self._machine.memory.put(address, _WORD.pack(value))
        with self._machine.input.own_action():
            registers.x[30] = x30
        for sp in entered:
            self._returns.abandon(sp)
        return True

    def _below(self, end: int, start: int) -> tuple[int, bytearray]:
        """The memory that there is from `start` or later, without a gap, to `end`, and its first address."""
        first, data = end, bytearray()
        while first > start:
            below = max(start, first - 1 & ~(PAGE - 1))
            try:
                data[:0] = self._machine.memory.read(below, first - below)
            except MachineError:
                break
            first = below
        return first, data

    def _may_have_taken(self, address: int, length: int) -> bool:
        """Whether the range may hold a taken return address. Other ranges may be devices, which mind reads."""
        sp = self._returns.instances.above(address + 1)
        return sp is not None and sp <= address + length + _LARGEST

    def _words(self, address: int, data: bytes) -> tuple[int, bytearray]:
        """`data` from `address`, extended to whole doublewords, and the address of the first."""
        memory, end = self._machine.memory, address + len(data)
        first, last = address & ~7, -(-end // 8) * 8
        return first, bytearray(memory.read(first, address - first) + data + memory.read(end, last - end))

    def _taken(self, first: int, words: bytearray) -> Iterator[tuple[int, KretprobeInstance]]:
        """The offsets of the trampoline's address in `words`, from virtual address `first`, and their calls."""
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
        """The call entered with the lowest stack pointer not below `sp`. None if it cannot be on the same stack."""
        instances = self._returns.instances
        entered = instances.above(sp)
        return None if entered is None or entered - sp > _LARGEST else instances.last(entered, self._returns.trampoline)

    # x30

    def shown(self, value: int) -> int:
        """What is shown for `value`, which x30 has: the property `x30`."""
        if value != self._returns.trampoline:
            return value
        registers = self._machine.registers
        hit = self._recorder.stopped_for
        if hit is not None and (hit.caller, hit.instructions) == (registers.pc, self._machine.instructions):
            return registers.pc
        return self.caller(value, registers.sp)

    @property
    def x30(self) -> int:
        """x30, with the caller's address for the trampoline's. At the stage `return`, the value the function left."""
        return self.shown(self._machine.registers.x[30])

    @x30.setter
    def x30(self, value: int) -> None:
        """Write to x30 as it is shown. The effect is decided when the guest goes on; see `before_resume`."""
        registers = self._machine.registers
        if value == self.x30:
            return
        if registers.x[30] == self._returns.trampoline:
            call = self._call(registers.sp)
            if call is not None:
                self._rewritten.append(_Rewritten(call, registers.pc, registers.sp))
        registers.x[30] = value

    def before_resume(self) -> None:
        """Call this before the guest goes on after a debugger may have written to its registers.

        A debugger that calls a function writes x30, the PC and the stack pointer, and restores all of them afterwards.
        If only x30 has changed, the call returns to the new address. If the PC and the stack pointer have the values
        that they would have after a return, the debugger has made the function return, and its call is dropped.
        """
        if not self._returns.trampoline or not self._returns.instances.any:
            self._rewritten.clear()
            return
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
