# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with the module in it, whatever makes the probes there."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, NamedTuple

from armprobe import machine
from armprobe.machine import Machine, StopReason
from tests.linux.shell import NotFinished, Shell  # tests have no import name to go by
from tests.oracle.live.journal import Event, Journal

_OBEY: Final = "echo >/proc/oracle"
_OBEY_APART: Final = f"({_OBEY})"  # in a process of its own, which a fault may end, for twice the instructions
USER: Final = "user"
"""The module's command that adds memory to a process."""
_U64: Final = (1 << 64) - 1
_REGISTERS: Final = re.compile(r"\bpstate: .*\blr : .*\n", re.DOTALL)  # after which there is nothing of a `Death`
_WORDS: Final = re.compile("Unrecoverable kprobe detected|Failed to recover from reentered kprobes")


class Death(NamedTuple):
    """How the guest ended: what the kernel prints in an oops.

    `where` is the symbol of its `pc`, with the offset, or empty if that is in none, as a slot is. `words` are those of
    kprobes, empty if it ended for another reason; `bug` is whether it was in a BUG() of arm64's kprobes.c.
    """

    external_abort: bool
    where: str
    pstate: int
    words: str = ""
    bug: bool = False


class OracleGuest(ABC):
    """A machine that has the module, which obeys commands (module/commands.c)."""

    guest: Machine

    @abstractmethod
    def tell(self, command: str, *numbers: int) -> list[Event]:
        """Have the module do one thing; what it notes of that."""

    @abstractmethod
    def clear(self) -> None:
        """Have the module forget all events and probes."""

    @abstractmethod
    def nothing(self) -> int:
        """An address that leads to neither memory nor a device."""

    @abstractmethod
    def die(self, function: int, *arguments: int) -> Death:
        """Call a function that ends in an oops. Raises NotFinished if the machine stops before."""


class LiveGuest(OracleGuest):
    """A kernel that runs, at its shell."""

    def __init__(self, snapshot: Path) -> None:
        self.guest = machine.load(snapshot)
        self.shell = Shell(self.guest)
        self.module = Journal(self.guest, int(self.shell.run("cat /proc/oracle"), 16))

    def write(self, *commands: str, apart: bool = False) -> None:
        """Give commands to the module, which obeys in the shell's process, or in one of its own."""
        self.module.command("\n".join(commands))
        said, status = self.shell.status(_OBEY_APART if apart else _OBEY)
        assert (said, status) == ("", 0), said

    def tell(self, command: str, *numbers: int) -> list[Event]:
        before = len(self.module)
        self.write(" ".join((command, *map(hex, numbers))), apart=command == USER)
        return list(self.module.read(before))

    def clear(self) -> None:
        self.write("clear")

    def nothing(self) -> int:
        *_, called = self.tell("nothing", self.guest.symbols["oracle_inner"].address)
        return (int(called["x0"]) - int(called["x1"])) & _U64  # three times, and twice

    def die(self, function: int, *arguments: int) -> Death:
        self.shell.run("dmesg -n 8")
        self.module.command(" ".join(("call", *map(hex, (function, *arguments)))))
        self.shell.type(_OBEY_APART)
        printed = ""
        for _ in range(100):
            stop = self.guest.run(instructions=100_000)
            printed += self.guest.console.read().decode(errors="replace")
            if _REGISTERS.search(printed):
                return _death(printed)
            if stop.reason is not StopReason.INSTRUCTIONS:
                raise NotFinished(stop)
        raise AssertionError(f"nothing ended: {printed}")


def _death(printed: str) -> Death:
    where, pstate = re.search(r"\bpc : (\w+\+0x\w+)?", printed), re.search(r"\bpstate: ([0-9a-f]{8})\b", printed)
    assert where, printed
    assert pstate, printed
    words = _WORDS.search(printed)
    return Death(
        external_abort="Internal error: synchronous external abort" in printed,
        where=where[1] or "",
        pstate=int(pstate[1], 16),
        words=words[0] if words else "",
        bug="kernel BUG at arch/arm64/kernel/probes/kprobes.c" in printed,
    )
