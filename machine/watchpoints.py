# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping before accesses to memory, as hardware does: before they take effect (Arm ARM, D2.10).

They are memory hooks bounded to physical addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import unicorn

from .bus import Bus
from .cpu import Cpu
from .dispatch import Dispatcher
from .errors import MachineError, NothingThere
from .memory import Memory
from .mmu import PAGE
from .stop import WatchHit

_HOOKS: Final = {
    "read": unicorn.UC_HOOK_MEM_READ,
    "write": unicorn.UC_HOOK_MEM_WRITE,
    "access": unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE,
}
_WIDEST: Final = 16  # bytes of one access
_BLOCK: Final = 64  # bytes that DC ZVA zeroes (DCZID_EL0 of every model)
# Instructions, each as a mask and what is left (Arm ARM, C4.1)
_DC_ZVA: Final = 0xFFFF_FFE0, 0xD50B_7420
_STXP: Final = 0xFFE0_0000, 0xC820_0000  # and STLXP, of two X registers
_CASP: Final = 0xFFA0_7C00, 0x4820_7C00  # and CASPA, CASPL, CASPAL
_STORES_EXCLUSIVE: Final = (0x3FE0_0000, 0x0800_0000), (0xBFE0_0000, 0x8820_0000)  # of one register, of two


@dataclass
class _Watch:
    kind: str
    address: int
    size: int
    hooks: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Undo:
    """What an instruction is about to change: the registers, and memory, a list of addresses and what was there."""

    registers: bytes
    before: list[tuple[int, bytes]]


class Watchpoints:
    """The watched pieces of memory; while `enabled` is not set they are left alone."""

    def __init__(self, cpu: Cpu, bus: Bus, memory: Memory, dispatcher: Dispatcher) -> None:
        self._cpu, self._bus, self._memory, self._dispatcher = cpu, bus, memory, dispatcher
        self._watches: list[_Watch] = []
        self.enabled = True
        self._hit: tuple[WatchHit, _Undo] | None = None
        # What the instruction that wrote last near something watched had there before: its count, and the writes.
        self._written: tuple[int, list[tuple[int, bytes]]] = 0, []

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, kind: str, address: int, size: int) -> None:
        """Watch `size` bytes at virtual `address` for kind "read", "write" or "access".

        The address is translated now. Raises NothingThere where it is unmapped, MachineError where it is a device's:
        what reading a device does cannot be undone.
        """
        if size < 1:
            raise MachineError(f"{size} bytes cannot be watched: give the size of what is at {address:#x}")
        watch = _Watch(kind, address, size)
        pieces = []
        # An access may begin before what is watched, in another page even, and reach into it; DC ZVA does a block; and
        # of what an instruction writes before it comes to what is watched, note is to be taken.
        at = max(0, address - _BLOCK + 1)
        end = -(-(address + size) // _BLOCK) * _BLOCK
        while at < end:
            following = min((at // PAGE + 1) * PAGE, end)
            try:
                physical = self._memory.translate(at).physical
            except MachineError as error:
                if following > address:
                    raise NothingThere(str(error)) from None
            else:
                if self._bus.ram_at(physical) is not None:
                    pieces.append((at, physical, following - at))
                elif following > address and self._bus.device_at(physical):
                    raise MachineError(f"there is a device at {at:#x}, not memory: it cannot be watched")
                elif following > address:
                    raise NothingThere(f"there is no memory at {at:#x}: it cannot be watched")
            at = following
        for virtual, physical, length in pieces:
            self._hook(watch, virtual, physical, length)
        self._watches.append(watch)
        self._cpu.forget_translations()

    def remove(self, kind: str, address: int, size: int) -> None:
        """Undo an `add`. Raises KeyError when there was none."""
        for watch in self._watches:
            if (watch.kind, watch.address, watch.size) == (kind, address, size):
                for hook in watch.hooks:
                    self._cpu.engine.hook_del(hook)
                self._watches.remove(watch)
                self._cpu.forget_translations()
                return
        raise KeyError(f"no {kind} watchpoint at {address:#x}")

    def _hook(self, watch: _Watch, virtual: int, physical: int, length: int) -> None:
        def accessed(engine: unicorn.Uc, access: int, at: int, width: int, value: int, _: object) -> None:
            first = virtual + at - physical
            if not self.enabled or self._hit is not None:
                return
            if self._dispatcher.end_slice:  # where much is watched the slice takes long
                self._cpu.limit(0)
            if access == unicorn.UC_MEM_WRITE and (whole := self._written_whole()) is not None:
                start, after = whole
                if start + len(after) > watch.address and start < watch.address + watch.size:
                    self._writing_whole(watch, at - first + start, start, after)
            elif watch.address - width < first < watch.address + watch.size and not (
                access == unicorn.UC_MEM_READ and self._is(*_STORES_EXCLUSIVE)
            ):
                self._accessed(watch, access, at, first, width, value)
            elif access == unicorn.UC_MEM_WRITE and first < watch.address:
                self._writing_before(at, width)

        add = self._cpu.engine.hook_add
        watch.hooks.append(add(_HOOKS[watch.kind], accessed, None, physical, physical + length - 1))

    def _is(self, *instructions: tuple[int, int]) -> bool:
        """Whether the instruction is one of these. `Cpu.frame` is loaded then."""
        return any(self._instruction() & mask == rest for mask, rest in instructions)

    def _instruction(self) -> int:
        self._cpu.frame.load()
        return int.from_bytes(self._cpu.read_virtual(self._cpu.frame.pc, 4) or b"", "little")

    def _written_whole(self) -> tuple[int, bytes] | None:
        """Where an instruction writes, and what, of which nothing may have been written when the machine stops.

        DC ZVA, which the engine does as a write of the byte that it names and then of all; and what writes two
        registers if there is in memory what is expected there, for it must be there when this is executed again.
        """
        word, x = self._instruction(), self._cpu.frame.x
        if word & _STXP[0] == _STXP[1]:
            return x[word >> 5 & 31], _pair(x, word & 31, word >> 10 & 31)
        if word & _CASP[0] == _CASP[1]:
            at, expected = x[word >> 5 & 31], word >> 16 & 31
            if self._cpu.read_virtual(at, 16) != _pair(x, expected, expected + 1):
                return None  # it writes what there is
            return at, _pair(x, word & 31, (word & 31) + 1)
        if word & _DC_ZVA[0] == _DC_ZVA[1]:
            return x[word & 31] // _BLOCK * _BLOCK, bytes(_BLOCK)
        return None

    def _writing_whole(self, watch: _Watch, physical: int, virtual: int, after: bytes) -> None:
        first = max(virtual, watch.address)
        size = min(virtual + len(after), watch.address + watch.size) - first
        before = self._bus.read(physical + first - virtual, size)
        written = int.from_bytes(after[first - virtual :][:size], "little")
        self._stop(WatchHit(watch.kind, first, size, written, int.from_bytes(before, "little")), physical)

    def _accessed(self, watch: _Watch, access: int, physical: int, virtual: int, width: int, value: int) -> None:
        written, old = 0, None
        if access == unicorn.UC_MEM_WRITE:
            written = value & (1 << 8 * width) - 1
            old = int.from_bytes(self._bus.read(physical, width), "little")
            watch = self._changed(virtual, width, written ^ old) or watch
        self._stop(WatchHit(watch.kind, max(virtual, watch.address), width, written, old), physical)

    def _writing_before(self, physical: int, width: int) -> None:
        """An instruction writes at `physical`, and may go on to write what is watched: keep what is there."""
        count = self._cpu.executed
        if self._written[0] != count:
            self._written = count, []
        self._written[1].append((physical, self._bus.read(physical, width)))

    def _stop(self, hit: WatchHit, physical: int) -> None:
        """End the run. By then the instruction will have made this access and those that follow: keep what is there."""
        self._cpu.frame.load()
        ram = self._bus.ram_at(physical)
        assert ram is not None  # nothing else is watched
        size = min(_BLOCK, ram.end - physical)  # no instruction writes more than a block
        count, written = self._written
        before = [] if hit.before is None else [(physical, self._bus.read(physical, size))]
        before += written if count == self._cpu.executed else []
        self._hit = hit, _Undo(self._cpu.frame.save(), before)
        self._cpu.limit(-1)  # the instruction does not count
        self._cpu.engine.emu_stop()

    def _changed(self, address: int, width: int, difference: int) -> _Watch | None:
        """Of what a write touches something that it changes: a debugger is told of one, and shows what has changed."""
        changed = [address + at for at in range(width) if difference >> 8 * at & 0xFF]
        for watch in self._watches:
            if watch.kind != "read" and any(0 <= at - watch.address < watch.size for at in changed):
                return watch
        return None

    def take_hit(self) -> WatchHit | None:
        """After a run: the access that ended it, if one did, its effect undone and the PC at its instruction."""
        if self._hit is None:
            return None
        (hit, undo), self._hit = self._hit, None
        self._cpu.frame.restore(undo.registers)
        self._cpu.frame.store()
        for physical, data in undo.before:
            self._memory.physical.write(physical, data)
        return hit


def _pair(x: Sequence[int], first: int, second: int) -> bytes:
    """Two registers as they are stored; number 31 is XZR."""
    return b"".join((0 if number == 31 else x[number]).to_bytes(8, "little") for number in (first, second))
