# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals while a machine runs on Python's main thread: their handlers are called between slices.

Python calls a signal's handler on the main thread, between any two of its bytecodes (documentation of the module
signal). While the engine executes, those are bytecodes of its callbacks. What a handler raises there, as Ctrl-C does,
is lost (ctypes prints "Exception ignored on calling ctypes callback function") or ends the handling of a guest's
exception in the middle.

A handler of a probe that does not end would keep all signals waiting. So a signal that comes a second time while the
first waits is passed on at once if code of the user's is running, which a guest function calls back into.
"""

from __future__ import annotations

import signal as signal_module
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

Handler = Callable[[int, FrameType | None], Any]
_F = TypeVar("_F", bound=Callable[..., Any])

# What the functions of the module are made from, which take ten times as long to make an enum of each result.
getsignal, signal = signal_module._signal.getsignal, signal_module._signal.signal  # type: ignore[attr-defined]
# Those that POSIX names. The real-time ones, which programs have no handlers for, would double the time this takes.
_SIGNALS: Final = tuple(int(number) for number in signal_module.valid_signals() if number < 32)
_CALLERS: Final[set[CodeType]] = set()  # functions that call what a user has passed in


def calls_users_code(function: _F) -> _F:
    """Mark a function that calls user code, such as a handler, and handles anything that it raises."""
    _CALLERS.add(function.__code__)
    return function


class _Waiting:
    """The handler of a signal while a machine runs, in place of the user's `handler`."""

    def __init__(self, signals: DeferredSignals, handler: Handler) -> None:
        self.handler = handler
        self._signals = signals

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._signals.arrives(number, self.handler, frame):
            self.handler(number, frame)


class DeferredSignals:
    """The signals of one machine. `arrived` is called when one has to be delivered."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._holding = False
        self._known: list[Any] = []  # the handlers of all signals when they were last looked at
        self._waiting: dict[int, _Waiting] = {}  # what takes their places
        self._taken: dict[int, _Waiting] = {}  # that, while it does
        self._pending: dict[int, tuple[Handler, FrameType | None]] = {}
        self._raised: BaseException | None = None  # by a handler, at a depth where it would be raised into a callback

    def hold(self) -> None:
        """From now on, until `release`, signals wait. Does nothing on other threads: handlers do not run there."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        try:
            handlers = list(map(getsignal, _SIGNALS))
            if handlers != self._known:
                self._known = handlers
                self._waiting = {n: _Waiting(self, h) for n, h in zip(_SIGNALS, handlers, strict=True) if callable(h)}
            self._taken = self._waiting
            for number, waiting in self._taken.items():
                signal(number, waiting)
            self._holding = True
        except BaseException:  # of a signal that came before
            self.release()
            raise

    def release(self) -> None:
        """Undo `hold`: the user's handlers are back, and what still waits is delivered.

        Raises what a handler raises.
        """
        error: BaseException | None = None
        while self._taken:
            try:
                self._holding = False  # a signal that comes from here on is passed on, and may raise here
                for number, waiting in self._taken.items():
                    if getsignal(number) is waiting:  # and not what a handler has set while the guest ran
                        signal(number, waiting.handler)
                self._taken = {}
            except BaseException as raised:
                error = raised
        try:
            self.deliver()
        finally:
            if error is not None:
                raise error

    def arrives(self, number: int, handler: Handler, frame: FrameType | None) -> bool:
        """Note a signal. False if its handler must be called at once."""
        if not self._holding or (number in self._pending and _in_users_code(frame)):
            return False
        self._pending.setdefault(number, (handler, frame))
        self._arrived()
        return True

    @property
    def pending(self) -> bool:
        """Whether there is something to `deliver`."""
        return bool(self._pending) or self._raised is not None

    def deliver(self) -> None:
        """Call the handlers of the signals that wait. Raises what one raises; the others wait on."""
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error
        while self._pending:
            number = next(iter(self._pending))
            handler, frame = self._pending.pop(number)
            handler(number, frame)

    def deliver_below(self) -> bool:
        """As `deliver`, in a run that a callback has begun: what a handler raises is kept for the run around it.

        Returns whether there is such.
        """
        if self._raised is None:
            try:
                self.deliver()
            except BaseException as error:
                self._raised = error
        return self._raised is not None


def _in_users_code(frame: FrameType | None) -> bool:
    """Whether `frame` belongs to user code that a callback has called."""
    while frame is not None:
        if frame.f_code in _CALLERS:
            return True
        if frame.f_globals.get("__name__", "").startswith("armprobe."):
            return False
        frame = frame.f_back
    return False
