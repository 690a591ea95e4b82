# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs to a machine. All changes to the guest that come from outside are announced here.

The machine's own actions are no input, because they follow from the guest's run and from the inputs announced. Examples
are an exception's entry, breakpoints and slots of probes, semihosting calls that the machine answers, the effects of a
called function, and all that a device does when the guest accesses it or its alarm goes off.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .core.deferred_signals import calls_users_code
from .time.clock import Clock

_NAMES: Final = (*(f"x{number}" for number in range(31)), "sp", "pc")


class InputKind(enum.Enum):
    """The kinds of input. The comments give `Input.where` and `Input.value` for each."""

    CONSOLE = "bytes at the serial line"  # "", bytes
    REGISTER = "a register written"  # its name, int
    MEMORY = "memory written"  # virtual address, bytes
    PHYSICAL = "physical memory or a device's registers written"  # physical address, bytes
    OWN = "the machine's own memory written, for work in the guest"  # virtual address, bytes
    DEVICE = "the state of a device changed by Python"  # its name, its state as JSON and its deadline
    LINE = "an interrupt line driven by Python"  # its INTID, bool
    TIME = "time skipped as the wall clock or Python says"  # "", the generic timer's count
    CALL = "a guest function called"  # its address, the arguments: tuple of int
    ANSWER = "a host call answered"  # "", result and errno
    HANDLER = "a register changed by the handler of a probe"  # its name, int
    STATE = "another state put in place"  # "restore", "reset" or "load", None


@lazy_dataclass
class Input:
    """One input. `position` is the machine's count of instructions when it entered. `time` is the generic timer's
    count, which advances while the guest waits for an interrupt."""

    position: int
    time: int
    kind: InputKind
    where: str | int = ""
    value: object = None


class Registers(Protocol):
    """The registers that a handler receives: x0 to x30, sp and pc, and pstate."""

    @property
    def words(self) -> Sequence[int]: ...

    @property
    def pstate(self) -> int: ...

    def content(self) -> bytes:
        """All of them, as they are kept: to see whether one has changed."""

    def decoded(self, content: bytes) -> tuple[Sequence[int], int]:
        """`words` and `pstate` as they were when `content` was taken."""


class History(Protocol):
    """What keeps the inputs, and plays them again: the machine's timeline."""

    live: bool
    begun: list[tuple[Callable[..., Any], object, int]]
    """The handlers that have begun and in which nothing has entered yet, and the ticks idled before each."""

    def handler_ends(self, result: object) -> None:
        """A handler has returned in which something has entered, or with a true result."""

    def replay_handler(self, handler: Callable[..., Any], registers: Any) -> Any:
        """Instead of calling a handler in the past, do what it did then, and return what it returned."""


class InputGate:
    """The single entry of input to one machine. Calls `listeners` with each input after it has entered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.listeners: list[Callable[[Input], None]] = []  # never replaced by another list
        self.history: History | None = None
        self.entering: Callable[[], None] = lambda: None
        """Called before an input is announced: what it enters in may not be known yet (`Dispatcher.leave_handler`)."""
        self._own = 0  # nested calls of devices by the machine

    def entered(self, kind: InputKind, where: str | int = "", value: object = None) -> None:
        """Announce an input that has just taken effect. Does nothing while the machine calls a device."""
        if self.listeners and not self._own:
            self.entering()
            entered = Input(self._clock.executed, self._clock.now, kind, where, value)
            for listener in list(self.listeners):
                listener(entered)

    @contextlib.contextmanager
    def own_action(self) -> Iterator[None]:
        """A context in which the machine calls a device: what that changes is no input."""
        self._own += 1
        try:
            yield
        finally:
            self._own -= 1

    @calls_users_code
    def call(self, handler: Callable[..., Any], probe: object, registers: Registers, *rest: object) -> Any:
        """Call a handler with its probe and registers, and announce the registers it changed. Returns its result.

        Call the handler itself where there are no listeners.
        """
        history = self.history
        if history is not None:
            if not history.live:
                return history.replay_handler(handler, registers)
            history.begun.append((handler, probe, self._clock.idle))
        before, result = registers.content(), None
        try:
            # A call with *rest takes twice as long.
            result = handler(probe, registers, *rest) if rest else handler(probe, registers)
            return result
        finally:
            if registers.content() != before:
                self.changed(registers, before)
            if history is not None:
                if result or not history.begun:
                    history.handler_ends(result)
                else:
                    history.begun.pop()

    def changed(self, registers: Registers, before: bytes) -> None:
        """Announce what a handler has changed of `registers`, whose content was `before`."""
        old, pstate = registers.decoded(before)
        for number, name in enumerate(_NAMES):
            if registers.words[number] != old[number]:
                self.entered(InputKind.HANDLER, name, registers.words[number])
        if registers.pstate != pstate:
            self.entered(InputKind.HANDLER, "pstate", registers.pstate)
