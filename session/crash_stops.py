# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops a Linux guest whose kernel panics, oopses or warns, and says what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from armprobe.kernel import Linux
from armprobe.kernel.crashes import Crash, CrashKind
from armprobe.machine import Machine, Stop, StopReason

ALL: Final = tuple(CrashKind)
_CALLED: Final = {CrashKind.PANIC: "a panic", CrashKind.OOPS: "an oops", CrashKind.WARNING: "a warning"}


class CrashStops:
    """Makes one machine stop at the `kinds` of crashes that are chosen. Use it on the owner's thread."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        kernel = machine.kernel
        self._crashes = kernel.crashes if isinstance(kernel, Linux) and kernel.crashes.available else None
        self._kinds: tuple[CrashKind, ...] = ()
        self.kinds = ALL

    @property
    def possible(self) -> bool:
        """Whether the guest is a kernel whose crashes are seen."""
        return self._crashes is not None

    @property
    def kinds(self) -> tuple[CrashKind, ...]:
        """The kinds of crashes that stop the guest."""
        return self._kinds

    @kinds.setter
    def kinds(self, kinds: Sequence[CrashKind]) -> None:
        if self._crashes is not None:
            self._kinds = tuple(kinds)
            self._crashes.watch(self._kinds, self._crashed)

    def _crashed(self, crash: Crash) -> None:
        machine = self._machine
        machine.request_stop(Stop(StopReason.CRASH, machine.registers.pc, self.described(crash), crash))

    def described(self, crash: Crash) -> str:
        """What happened, in a few lines."""
        describe = self._machine.symbols.describe
        lines = list(crash.message)
        if crash.task is not None:
            lines.append(f"task: {crash.task.comm} (pid {crash.task.pid})")
        lr = "" if crash.lr is None else f", lr: {describe(crash.lr)}"
        lines.append(f"pc: {describe(crash.pc)}{lr}")
        if crash.register is not None:
            name, value = crash.register
            lines.append(f"bad address: from {name} = {value:#x}")
        if self._machine.timeline.enabled:
            lines.append(f"to go back: {_way_back(crash)}")
        return "\n".join([*lines, f"{_CALLED[crash.kind]} of the guest's kernel"])


def _way_back(crash: Crash) -> str:
    if crash.position is None:
        return "reverse-stepi, reverse-continue, goto -1ms; last-write ADDRESS: who wrote there"
    there = f"goto {crash.position}: to the instruction that faulted"
    if crash.register is None:
        return f"{there}; last-write ADDRESS: who wrote there"
    return f"{there}; last-write ${crash.register[0]} there: where its value is from"
