# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own probes, which the module makes in a guest that runs."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Final

import pytest

from tests.oracle.live.guests import USER, Death, LiveGuest
from tests.oracle.live.journal import REGISTERS, Event
from tests.oracle.live.subjects import Definition, Subject, without

_NMISSED: Final = 0x20  # bytes from the start of struct kprobe
_U64: Final = (1 << 64) - 1
_AREA: Final = re.compile(r"^0x([0-9a-f]+)-0x([0-9a-f]+)\s+(\S+)", re.MULTILINE)


class Kernel(Subject):
    """What a kernel's own probes do, and what else it says."""

    @abstractmethod
    def blacklist(self) -> list[tuple[int, int, str]]:
        """Where its areas without probes start and end, and their names, as debugfs has them."""

    @abstractmethod
    def dmesg(self, pattern: str) -> list[str]:
        """What it has printed that matches."""

    @abstractmethod
    def oops(self) -> None:
        """Have it do what was asked for last, which ends in an oops."""


class KernelProbes(Kernel):
    """The kernel's own probes."""

    def __init__(self, live: LiveGuest) -> None:
        super().__init__(live.guest)
        self._live = live
        names = "__kretprobe_trampoline", "kretprobe_trampoline"  # renamed in v5.16 (commit adf8a61a940c)
        self._trampoline = next(symbol.address for name in names if (symbol := self.symbols.get(name)))
        self._pending: list[str] = []

    def clear(self) -> None:
        super().clear()
        self._later("clear")

    def blacklist(self) -> list[tuple[int, int, str]]:
        printed = self._live.shell.run("cat /sys/kernel/debug/kprobes/blacklist")
        return [(int(start, 16), int(end, 16), name) for start, end, name in _AREA.findall(printed)]

    def dmesg(self, pattern: str) -> list[str]:
        return re.findall(pattern, self._live.shell.run("dmesg"))

    def oops(self) -> None:
        with pytest.raises(AssertionError):
            self._now(apart=True)

    def nothing(self) -> int:
        return self._live.nothing()

    def die(self, function: str, *arguments: int) -> Death:
        self._now()
        return self._live.die(self.address(function), *arguments)

    def _later(self, *words: str | int) -> None:
        self._pending.append(" ".join(f"{word:#x}" if isinstance(word, int) else word for word in words))

    def _now(self, *, apart: bool = False) -> None:
        if self._pending:
            apart = apart or any(line.startswith(USER) for line in self._pending)
            self._live.write(*self._pending, apart=apart)
            self._pending.clear()

    def _define(self, number: int, definition: Definition) -> None:
        d = definition
        place = d.symbol or "-", d.addr or 0, d.offset, d.flags
        self._later("define", number, int(d.returns), *place, d.maxactive & _U64, d.data_size)
        for after, action in enumerate((d.before, d.after)):
            if action is not None:
                function = self.address(action.call) if action.call else 0
                setting = REGISTERS.index(action.set) if action.set else len(REGISTERS)
                changed = function, action.argument, setting, action.value & _U64
                self._later("action", number, after, action.result & _U64, *changed)

    def register(self, number: int) -> None:
        self._later("register", number)

    def unregister(self, number: int) -> None:
        self._later("unregister", number)

    def enable(self, number: int) -> None:
        self._later("enable", number)

    def disable(self, number: int) -> None:
        self._later("disable", number)

    def change(self, number: int, *, addr: int | None = None, flags: int | None = None) -> None:
        if addr is not None:
            self._later("address", number, addr)
        if flags is not None:
            self._later("flags", number, flags)

    def call(self, function: str, *arguments: int) -> None:
        self._later("call", self.address(function), *arguments)

    def call_with_user_memory(self, function: str) -> None:
        self._later(USER, self.address(function))

    def peek(self, address: int) -> None:
        self._later("peek", address)

    def nmissed(self, number: int) -> int:
        changes = [event for event in self.journal if event["what"] == "register" and event["probe"] == number]
        return self.guest.memory.u64(int(changes[-1]["kprobe"]) + _NMISSED)

    def register_no_kprobes(self, count: int) -> None:
        self._later("many", count & _U64)

    def sweep(self, addresses: range) -> list[int]:
        self._later("clear")
        self._later("sweep", addresses.start, len(addresses))
        self._now()
        return self._live.module.sweep()

    @property
    def journal(self) -> list[Event]:
        self._now()
        return [without(event, {self._trampoline}) for event in self._live.module.read()]
