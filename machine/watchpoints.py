# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping before accesses to memory, as hardware does: before they take effect (Arm ARM, D2.10).

They are memory hooks bounded to physical addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import unicorn

from .bus import Bus
from .cpu import Cpu
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


@dataclass
class _Watch:
    kind: str
    address: int
    size: int
    hooks: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Undo:
    """What an instruction is about to change: the registers, and `before` at `physical`."""

    registers: bytes
    physical: int
    before: bytes


class Watchpoints:
    """The watched pieces of memory; while `enabled` is not set they are left alone."""

    def __init__(self, cpu: Cpu, bus: Bus, memory: Memory) -> None:
        self._cpu, self._bus, self._memory = cpu, bus, memory
        self._watches: list[_Watch] = []
        self.enabled = True
        self._hit: tuple[WatchHit, _Undo] | None = None

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
        # An access may begin before what is watched, in another page even, and reach into it.
        at, end = max(0, address - _WIDEST + 1), address + size
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
            if self.enabled and self._hit is None and first + width > watch.address:
                self._accessed(watch, access, at, first, width, value)

        add = self._cpu.engine.hook_add
        watch.hooks.append(add(_HOOKS[watch.kind], accessed, None, physical, physical + length - 1))

    def _accessed(self, watch: _Watch, access: int, physical: int, virtual: int, width: int, value: int) -> None:
        writes = access == unicorn.UC_MEM_WRITE
        # The access will have been made by the time the engine stops: keep what it is about to change.
        self._cpu.frame.load()
        start, end = physical // _BLOCK * _BLOCK, max(physical + width, (physical // _BLOCK + 1) * _BLOCK)
        before = self._bus.read(start, end - start) if writes else b""
        written, old = 0, None
        if writes:
            written = value & (1 << 8 * width) - 1
            old = int.from_bytes(self._bus.read(physical, width), "little")
            watch = self._changed(virtual, width, written ^ old) or watch
        hit = WatchHit(watch.kind, max(virtual, watch.address), width, written, old)
        self._hit = hit, _Undo(self._cpu.frame.save(), start, before)
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
        if undo.before:
            self._memory.physical.write(undo.physical, undo.before)
        return hit
