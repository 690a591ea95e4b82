# SPDX-License-Identifier: GPL-2.0-or-later
"""Ends a run before an access to memory takes effect, for watchpoints (Arm ARM, D2.10).

The engine calls its hook before the access but can end only after that instruction. So `AccessStop.take` restores the
registers and the memory that the instruction changed.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.native.binding import function
from armprobe.machine.native.code_hook import CodeHook

from .effective_address import effective_address

if TYPE_CHECKING:
    from .core import Core

T = TypeVar("T")
BLOCK: Final = 64
"""Bytes that DC ZVA zeroes (DCZID_EL0 of every model)."""
# Instructions, each as a mask and the masked value (Arm ARM, C4.1)
_DC_ZVA: Final = 0xFFFF_FFE0, 0xD50B_7420
_STXP: Final = 0xFFE0_0000, 0xC820_0000  # and STLXP; two X registers
_CASP: Final = 0xFFA0_7C00, 0x4820_7C00  # and CASPA, CASPL, CASPAL
_IS_UNCHECKED: Final = function("armprobe_is_unchecked", ctypes.c_bool, ctypes.c_uint32)


@lazy_dataclass
class _Undo:
    """The registers before an instruction, and the addresses and bytes of the memory that it is about to write."""

    registers: bytes
    before: list[tuple[int, bytes]]


class AccessStop(Generic[T]):
    """Ends runs of one core, each for a reason of type T. All methods except `take` are for memory hooks."""

    def __init__(self, core: Core) -> None:
        self._core, self._bus, self._memory = core, core.machine.bus, core.memory
        self._stopped: tuple[T, _Undo] | None = None
        self._users = 0
        self._hooks: dict[tuple[Callable[[int], CodeHook], int], CodeHook] = {}  # by what adds it, and address
        # The last instruction that wrote near watched memory: its run, count and address, and what its writes replaced.
        self._written: tuple[tuple[int, int, int], list[tuple[int, bytes]]] = (0, 0, 0), []

    def begin(self) -> None:
        """There are memory hooks from now on. Code translated without them is not executed meanwhile."""
        if not self._users:
            self._core.native.watch(True)
            self._core.set_code_aside()
        self._users += 1
        self._core.forget_addresses()

    def end(self) -> None:
        """Undo a `begin`."""
        self._users -= 1
        if not self._users:
            self._core.native.watch(False)
            for hook in self._hooks.values():
                hook.remove()
            self._hooks.clear()
            self._core.take_code_up()
        self._core.forget_addresses()

    def follow(self, code: bytes, address: int) -> bool:
        """Hook the instructions in new `code` that the engine does in one function of its own.

        Runs can end behind them then, and memory hooks are told of each DC ZVA. Returns whether there are any that were
        not known, so that the code must be translated again.
        """
        if not self._users:
            return False
        known, native = len(self._hooks), self._core.native
        for at, (word,) in enumerate(struct.iter_unpack("<I", code[: len(code) // 4 * 4])):
            here = address + 4 * at
            if _IS_UNCHECKED(word):
                self._hook(native.check, here + 4)
            if word & _DC_ZVA[0] == _DC_ZVA[1]:
                self._hook(native.tell_zeroing, here)
        return len(self._hooks) > known

    def _hook(self, add: Callable[[int], CodeHook], address: int) -> None:
        if (add, address) not in self._hooks:
            self._hooks[add, address] = add(address)

    @property
    def pending(self) -> bool:
        """Whether the run is about to end. Further accesses belong to the same instruction and will be undone."""
        return self._stopped is not None

    def instruction(self) -> int:
        """The instruction that makes the access. Loads `Core.context`."""
        self._core.context.load()
        return int.from_bytes(self._read(self._core.context.pc, 4) or b"", "little")

    def _read(self, address: int, size: int) -> bytes | None:
        """Memory at a virtual address, within one page; None where nothing is mapped.

        Walks the guest's tables. The engine looked the access up in its TLB before the hook and reuses that entry after
        it, and `Core.read_virtual` could refill the entry for another page in between.
        """
        try:
            return self._bus.read(self._memory.translate(address).physical, size)
        except MachineError:
            return None

    def written_whole(self) -> tuple[int, bytes] | None:
        """Address and bytes of a write that must be undone as a whole when the machine stops; None for other writes.

        Such are DC ZVA, where the engine writes the byte addressed and then the whole block, and stores of two
        registers that succeed only if memory holds an expected value, which must be there again for the next execution.
        """
        word, x = self.instruction(), self._core.context.x
        at = effective_address(word, x)
        if at is None:
            return None
        if word & _STXP[0] == _STXP[1]:
            return at, _pair(x, word & 31, word >> 10 & 31)
        if word & _CASP[0] == _CASP[1]:
            expected = word >> 16 & 31
            if self._read(at, 16) != _pair(x, expected, expected + 1):
                return None  # a failed comparison writes back the same value
            return at, _pair(x, word & 31, (word & 31) + 1)
        if word & _DC_ZVA[0] == _DC_ZVA[1]:
            return at, bytes(BLOCK)
        return None

    def writing_before(self, physical: int, width: int) -> None:
        """Keep the content of `physical`: the instruction that writes there may write watched memory next."""
        if self._written[0] != self._place():
            self._written = self._place(), []
        self._written[1].extend(self.content(physical, width))

    def content(self, physical: int, size: int) -> list[tuple[int, bytes]]:
        """Physical addresses and content of `size` bytes, at most a page, from where the access at `physical` begins.

        They may go on in another page, where the guest maps that.
        """
        here = min(size, PAGE - physical % PAGE)
        pieces = [(physical, self._bus.read(physical, here))]
        if here < size and (begin := effective_address(self.instruction(), self._core.context.x)) is not None:
            try:
                following = self._memory.translate(begin + (physical - begin) % PAGE + here).physical
            except MachineError:  # the access will fault
                return pieces
            if self._bus.ram_at(following) is not None:
                pieces.append((following, self._bus.read(following, size - here)))
        return pieces

    def _place(self) -> tuple[int, int, int]:
        """Identifies the instruction that makes the access: several of the machine's own may have the same count."""
        self._core.context.load()
        return self._core.runs, self._core.executed, self._core.context.pc

    def stop(self, why: T, physical: int, writes: bool) -> None:
        """End the run for `why`, and keep the memory that the instruction will have overwritten by then."""
        self._core.context.load()
        place, written = self._written
        before = self.content(physical, BLOCK) if writes else []  # no instruction writes more than a block
        before += written if place == self._place() else []
        self._stopped = why, _Undo(self._core.context.save(), before)
        self._core.native.stop_before()

    def take(self) -> T | None:
        """After a run: the reason, if an access ended it. Undoes the access and sets the PC to its instruction."""
        if self._stopped is None:
            return None
        (why, undo), self._stopped = self._stopped, None
        self._core.context.restore(undo.registers)
        self._core.context.store()
        for physical, data in undo.before:
            self._bus.write(physical, data)
            self._core.forget_physical(physical, len(data))
        return why


def _pair(x: Sequence[int], first: int, second: int) -> bytes:
    """The bytes of two registers as in memory; register 31 is XZR."""
    return b"".join((0 if number == 31 else x[number]).to_bytes(8, "little") for number in (first, second))
