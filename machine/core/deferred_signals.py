# SPDX-License-Identifier: GPL-2.0-or-later
"""Defers Python's signal handlers to the end of a slice while a machine runs on the main thread.

Python calls a signal's handler on the main thread, between any two bytecodes (documentation of the module signal).
While the engine executes, those are bytecodes of its callbacks. An exception raised there, as Ctrl-C raises one, is
lost (ctypes prints "Exception ignored on calling ctypes callback function") or cuts short the handling of a guest's
exception.

A probe handler that never ends would keep all signals waiting. So when a signal arrives again while the first waits,
and user code called from a callback is running, its handler is called at once.
"""

from __future__ import annotations

import signal as signal_module
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

Handler = Callable[[int, FrameType | None], Any]
_F = TypeVar("_F", bound=Callable[..., Any])

# The module's functions wrap these, and take ten times as long because they convert each result to an enum.
getsignal, signal = signal_module._signal.getsignal, signal_module._signal.signal  # type: ignore[attr-defined]
# The signals that POSIX names. Programs have no handlers for the real-time ones, which would double the time taken.
_SIGNALS: Final = tuple(int(number) for number in signal_module.valid_signals() if number < 32)
_CALLERS: Final[set[CodeType]] = set()  # functions that call user code


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
    """The signals of one machine. Calls `arrived` when a signal has to be delivered."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._holding = False
        self._known: list[Any] = []  # the handlers of all signals at the last `hold`
        self._waiting: dict[int, _Waiting] = {}  # their replacements
        self._taken: dict[int, _Waiting] = {}  # the replacements now installed
        self._pending: dict[int, tuple[Handler, FrameType | None]] = {}
        self._raised: BaseException | None = None  # by a handler, at a depth where it would be raised into a callback

    def hold(self) -> None:
        """Make signals wait until `release`. Does nothing on other threads: handlers do not run there."""
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
        except BaseException:  # raised by the handler of an earlier signal
            self.release()
            raise

    def release(self) -> None:
        """Undo `hold`: restore the user's handlers and deliver the waiting signals.

        Raises what a handler raises.
        """
        error: BaseException | None = None
        while self._taken:
            try:
                self._holding = False  # from here on, signals reach their handlers at once, which may raise here
                for number, waiting in self._taken.items():
                    if getsignal(number) is waiting:  # not if a handler was set while the guest ran
                        signal(number, waiting.handler)
                self._taken = {}
            except BaseException as raised:
                error = raised
        try:
            if self._pending or self._raised is not None:
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
        """Call the handlers of waiting signals. If one raises, the others stay waiting and the exception propagates."""
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error
        while self._pending:
            number = next(iter(self._pending))
            handler, frame = self._pending.pop(number)
            handler(number, frame)

    def deliver_below(self) -> bool:
        """Like `deliver`, in a run that a callback began: keeps a handler's exception for the surrounding run.

        Returns whether an exception is kept.
        """
        if self._raised is None:
            try:
                self.deliver()
            except BaseException as error:
                self._raised = error
        return self._raised is not None


def _in_users_code(frame: FrameType | None) -> bool:
    """Whether `frame` is in user code that a callback called."""
    while frame is not None:
        if frame.f_code in _CALLERS:
            return True
        if frame.f_globals.get("__name__", "").startswith("armprobe."):
            return False
        frame = frame.f_back
    return False
