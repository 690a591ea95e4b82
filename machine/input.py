# SPDX-License-Identifier: GPL-2.0-or-later
"""What enters a machine from outside. Every change of the guest that the guest does not make itself is announced here.

The machine's own doing is no input: it follows from the guest's run and from what is announced. Such are an exception's
entry, the breakpoints and slots of probes, what a device or a semihosting call answers, and what a called function
does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast, overload

from .time.clock import Clock

F = TypeVar("F", bound=Callable[..., Any])
_NAMES: Final = (*(f"x{number}" for number in range(31)), "sp", "pc")


class InputKind(enum.Enum):
    """What has entered; `Input.where` and `Input.value` are as said here."""

    CONSOLE = "bytes at the serial line"  # "", bytes
    REGISTER = "a register written"  # its name, int
    MEMORY = "memory written"  # virtual address, bytes
    PHYSICAL = "physical memory or a device's registers written"  # physical address, bytes
    CALL = "a guest function called"  # its address, the arguments: tuple of int
    ANSWER = "a host call answered"  # "", result and errno
    HANDLER = "a register changed by the handler of a probe"  # its name, int
    STATE = "another state put in place"  # "restore" or "reset", None


@dataclass(frozen=True)
class Input:
    """One input. `position` is the machine's count of instructions when it entered, `time` the generic timer's count,
    which goes on while the guest waits for an interrupt."""

    position: int
    time: int
    kind: InputKind
    where: str | int = ""
    value: object = None


class Registers(Protocol):
    """The registers that a handler is given: x0 to x30, sp and pc, and pstate."""

    @property
    def words(self) -> Sequence[int]: ...

    @property
    def pstate(self) -> int: ...


class InputGate:
    """The one place where input enters one machine. `listeners` are called with each input, once it has entered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.listeners: list[Callable[[Input], None]] = []  # the same list for good

    def entered(self, kind: InputKind, where: str | int = "", value: object = None) -> None:
        """Announce an input that has just taken effect."""
        if self.listeners:
            entered = Input(self._clock.executed, self._clock.now, kind, where, value)
            for listener in list(self.listeners):
                listener(entered)

    @overload
    def watching(self, handler: F) -> F: ...

    @overload
    def watching(self, handler: F | None) -> F | None: ...

    def watching(self, handler: F | None) -> F | None:
        """A handler, called with its probe and registers, that calls `handler` and announces what it has changed.

        It compares all registers, so it is for when somebody listens.
        """
        if handler is None:
            return None
        called = handler

        def watched(probe: object, registers: Registers, *rest: object) -> Any:
            before, pstate = list(registers.words[: len(_NAMES)]), registers.pstate
            try:
                return called(probe, registers, *rest)
            finally:
                for name, old, new in zip(_NAMES, before, registers.words[: len(_NAMES)], strict=True):
                    if new != old:
                        self.entered(InputKind.HANDLER, name, new)
                if registers.pstate != pstate:
                    self.entered(InputKind.HANDLER, "pstate", registers.pstate)

        return cast(F, watched)
