# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchpoints stop the machine before an access to memory takes effect, like hardware (Arm ARM, D2.10).

Each is a set of memory hooks bounded to physical addresses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import unicorn

from armprobe.machine.errors import MachineError, NothingThere
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.stop import Stop, StopReason, WatchHit

from .access_stop import BLOCK
from .instruction_words import is_store_exclusive

if TYPE_CHECKING:
    from .core import Core

_HOOKS: Final = {
    "read": unicorn.UC_HOOK_MEM_READ,
    "write": unicorn.UC_HOOK_MEM_WRITE,
    "access": unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE,
}
_WIDEST: Final = 16  # bytes of one access


@dataclass
class _Watch:
    kind: str
    address: int
    size: int
    hooks: list[int] = field(default_factory=list)
    pieces: list[tuple[int, int, int]] = field(default_factory=list)  # virtual address, physical address, bytes


class Watchpoints:
    """The watchpoints of one core. They act only while `enabled` is set."""

    def __init__(self, core: Core) -> None:
        self._core, self._bus, self._memory = core, core.machine.bus, core.memory
        self._dispatcher, self._stop = core.dispatcher, core.access_stop
        self._watches: list[_Watch] = []
        self.enabled = True

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, kind: str, address: int, size: int) -> None:
        """Watch `size` bytes at virtual `address` for kind "read", "write" or "access".

        The address is translated now. Raises NothingThere where it is unmapped, and MachineError where it is a
        device's, because the effect of reading a device cannot be undone.
        """
        self._core.refuse_other_threads()
        if size < 1:
            raise MachineError(f"{size} bytes cannot be watched: give the size of what is at {address:#x}")
        watch = _Watch(kind, address, size)
        pieces = []
        # An access may begin before the watched bytes, even in another page, and reach into them. DC ZVA writes a
        # block. The bytes that an instruction writes before the watched ones must be saved too, to be undone.
        at = max(0, address - BLOCK + 1)
        end = -(-(address + size) // BLOCK) * BLOCK
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
        watch.pieces = pieces
        self._begin(watch)
        self._watches.append(watch)

    def _begin(self, watch: _Watch) -> None:
        for piece in watch.pieces:
            self._hook(watch, *piece)
        self._stop.begin()

    def _end(self, watch: _Watch) -> None:
        for hook in watch.hooks:
            self._core.engine.hook_del(hook)
        watch.hooks.clear()
        self._stop.end()

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """A context in which nothing is watched, and so the guest is not slower."""
        for watch in self._watches:
            self._end(watch)
        try:
            yield
        finally:
            for watch in self._watches:
                self._begin(watch)

    @property
    def written(self) -> list[tuple[int, int]] | None:
        """The physical addresses and sizes of all memory where a write may stop the machine; None if a read may."""
        if any(watch.kind != "write" for watch in self._watches):
            return None
        return [(physical, length) for watch in self._watches for _, physical, length in watch.pieces]

    def remove(self, kind: str, address: int, size: int) -> None:
        """Undo an `add`. Raises KeyError when there was none."""
        self._core.refuse_other_threads()
        for watch in self._watches:
            if (watch.kind, watch.address, watch.size) == (kind, address, size):
                self._watches.remove(watch)
                self._end(watch)
                return
        raise KeyError(f"no {kind} watchpoint at {address:#x}")

    def master_writes(self, physical: int, data: bytes, before: bytes) -> None:
        """Stop the machine if a device's write of `data`, which replaces `before`, changes watched bytes."""
        for watch in self._watches:
            for virtual, start, length in watch.pieces:
                first = max(start, physical, start + watch.address - virtual)
                end = min(start + length, physical + len(data), start + watch.address + watch.size - virtual)
                new, old = (each[first - physical : end - physical] for each in (data, before))
                if watch.kind != "read" and first < end and new != old:
                    values = (int.from_bytes(each, "little") for each in (new, old))
                    hit = WatchHit(watch.kind, virtual + first - start, end - first, *values)
                    # During a run, the load or store that is accessing the device will be completed.
                    running = self._core.machine.clock.running is self._core
                    address = self._core.registers.pc + (4 if running else 0)
                    self._dispatcher.request_stop(Stop(StopReason.WATCHPOINT, address, f"{hit}, by a device", hit))
                    if running:
                        self._core.end_slice()
                    return

    def _hook(self, watch: _Watch, virtual: int, physical: int, length: int) -> None:
        def accessed(engine: unicorn.Uc, access: int, at: int, width: int, value: int, _: object) -> None:
            first = virtual + at - physical
            if not self.enabled or self._stop.pending:
                return
            if self._core.machine.scratch.is_extra(self._core.load().pc):
                return  # a trampoline's frame: the guest has no such access, and what was there is put back
            if self._dispatcher.ends_soon:  # a slice with many watched accesses is slow
                self._core.limit(0)
            if access == unicorn.UC_MEM_WRITE and (whole := self._stop.written_whole()) is not None:
                start, after = whole
                if start + len(after) > watch.address and start < watch.address + watch.size:
                    self._writing_whole(watch, at - first + start, start, after)
            elif watch.address - width < first < watch.address + watch.size and not (
                access == unicorn.UC_MEM_READ and is_store_exclusive(self._stop.instruction())
            ):
                self._accessed(watch, access, at, first, width, value)
            elif access == unicorn.UC_MEM_WRITE and first < watch.address:
                self._stop.writing_before(at, width)

        add = self._core.engine.hook_add
        watch.hooks.append(add(_HOOKS[watch.kind], accessed, None, physical, physical + length - 1))

    def _writing_whole(self, watch: _Watch, physical: int, virtual: int, after: bytes) -> None:
        first = max(virtual, watch.address)
        size = min(virtual + len(after), watch.address + watch.size) - first
        before = self._bus.read(physical + first - virtual, size)
        written = int.from_bytes(after[first - virtual :][:size], "little")
        hit = WatchHit(watch.kind, first, size, written, int.from_bytes(before, "little"))
        self._stop.stop(hit, physical, writes=True)

    def _accessed(self, watch: _Watch, access: int, physical: int, virtual: int, width: int, value: int) -> None:
        written, old = 0, None
        if access == unicorn.UC_MEM_WRITE:
            written = value & (1 << 8 * width) - 1
            old = int.from_bytes(b"".join(data for _, data in self._stop.content(physical, width)), "little")
            watch = self._changed(virtual, width, written ^ old) or watch
        hit = WatchHit(watch.kind, max(virtual, watch.address), width, written, old)
        self._stop.stop(hit, physical, writes=old is not None)

    def _changed(self, address: int, width: int, difference: int) -> _Watch | None:
        """The first watchpoint whose bytes a write changes, or None. A debugger shows what has changed."""
        changed = [address + at for at in range(width) if difference >> 8 * at & 0xFF]
        for watch in self._watches:
            if watch.kind != "read" and any(0 <= at - watch.address < watch.size for at in changed):
                return watch
        return None
