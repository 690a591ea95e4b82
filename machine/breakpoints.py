# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping at addresses and before accesses, leaving no trace in the guest's memory.

Addresses are Unicorn's "exits", at which a translated block ends. Watchpoints are memory hooks bounded to physical
addresses; as on hardware the stop comes before the access takes effect (Arm ARM, D2.10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import unicorn

from .cpu import Cpu
from .memory import Memory
from .stop import WatchHit

_HOOKS: Final = {
    "read": unicorn.UC_HOOK_MEM_READ,
    "write": unicorn.UC_HOOK_MEM_WRITE,
    "access": unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE,
}


class Breakpoints:
    """The addresses at which the CPU stops before executing; each is counted, as several may want the same."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._wanted: Counter[int] = Counter()
        self.stepping_over: int | None = None  # the breakpoint whose instruction is being executed

    def __contains__(self, address: int) -> bool:
        return address in self._wanted

    def count(self, address: int) -> int:
        """How many want a stop at `address`."""
        return self._wanted[address]  # a Counter: 0 for what it has not, and keeps nothing

    def add(self, address: int) -> None:
        """Stop at `address`."""
        self._wanted[address] += 1
        if self._wanted[address] == 1:
            self._arm([address])

    def remove(self, address: int) -> None:
        """Undo one `add`. Raises KeyError when there was none."""
        if not self._wanted[address]:
            del self._wanted[address]
            raise KeyError(f"no breakpoint at {address:#x}")
        self._wanted[address] -= 1
        if not self._wanted[address]:
            del self._wanted[address]
            self._arm([address])

    def step_over(self, pc: int) -> tuple[int, unicorn.UcError | None]:
        """Execute the one instruction at `pc` although it is a breakpoint; returns as `Cpu.run`."""
        self._cpu.engine.ctl_set_exits([])
        self._cpu.forget([pc])
        self.stepping_over = pc
        try:
            return self._cpu.run(pc, 1)
        finally:
            self.stepping_over = None
            self._arm([pc])

    def _arm(self, changed: list[int]) -> None:
        self._cpu.engine.ctl_set_exits(list(self._wanted))
        self._cpu.forget(changed)  # blocks translated before know nothing of the change


@dataclass
class _Watch:
    kind: str
    address: int
    size: int
    hooks: list[int]


class Watchpoints:
    """Stops before reads or writes of memory. `triggered` is told of the access, from inside the run."""

    def __init__(self, cpu: Cpu, memory: Memory, triggered: Callable[[WatchHit], None]) -> None:
        self._cpu, self._memory, self._triggered = cpu, memory, triggered
        self._watches: list[_Watch] = []
        self.enabled = True
        self.hit: WatchHit | None = None
        self._before: tuple[bytes, int, bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, kind: str, address: int, size: int) -> None:
        """Watch `size` bytes at virtual `address` for kind "read", "write" or "access".

        The address is translated now; MachineError where it is unmapped.
        """
        hooks: list[int] = []
        done = 0
        watch = _Watch(kind, address, size, hooks)
        while done < size:
            mapping = self._memory.translate(address + done)
            length = min(size - done, mapping.remaining)
            physical, virtual = mapping.physical, address + done

            def accessed(
                engine: unicorn.Uc, access: int, at: int, width: int, value: int, _: object,
                physical: int = physical, virtual: int = virtual,
            ) -> None:  # fmt: skip
                self._accessed(watch, access, at, virtual + at - physical, width, value)

            # An access may begin up to 15 bytes before what is watched and reach into it.
            hooks.append(
                self._cpu.engine.hook_add(_HOOKS[kind], accessed, None, max(0, physical - 15), physical + length - 1)
            )
            done += length
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

    def _accessed(self, watch: _Watch, access: int, physical: int, virtual: int, width: int, value: int) -> None:
        if self.hit is not None or not self.enabled or virtual + width <= watch.address:
            return
        kind = "write" if access == unicorn.UC_MEM_WRITE else "read"
        # The instruction will have run by the time the engine stops: keep what it is about to change.
        self._cpu.frame.load()
        before = self._memory.physical.read(physical, width) if kind == "write" else b""
        self._before = self._cpu.frame.save(), physical, before
        written, old = (value & (1 << width * 8) - 1, int.from_bytes(before, "little")) if before else (0, None)
        self.hit = WatchHit(watch.kind, max(virtual, watch.address), width, written, old)
        self._cpu.engine.emu_stop()
        self._triggered(self.hit)

    def take_hit(self) -> WatchHit | None:
        """After a run: the access that ended it, if one did, its effect undone and the PC at its instruction."""
        hit, self.hit = self.hit, None
        if hit is None or self._before is None:
            return None
        frame = self._cpu.frame
        frame.load()
        pc = frame.pc
        saved, physical, before = self._before
        self._before = None
        frame.restore(saved)
        frame.pc = pc
        frame.store()
        if before:
            self._memory.physical.write(physical, before)
        return hit
