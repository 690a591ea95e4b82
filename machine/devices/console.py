# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of the guest's serial line."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine.core.deferred_signals import calls_users_code

if TYPE_CHECKING:
    from .pl011 import Pl011

_KEPT: Final = 1 << 20  # bytes of unread output kept


class Console:
    """The guest's output can be read once, or listened to. Input written here arrives at the guest's UART."""

    def __init__(self) -> None:
        self._output = bytearray()
        self._input = bytearray()
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._uart: Pl011 | None = None
        self.receive: Callable[[bytes], None] = lambda data: None
        self._listeners: list[Callable[[bytes], None]] = []
        self._muted = False

    def connect(self, uart: Pl011, receive: Callable[[bytes], None]) -> None:
        """Be the far end of `uart`. Input is given to `receive`, which is to have it arrive there."""
        self._uart, self.receive = uart, receive

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Call `listener` with each byte from now on, as part of the instruction that sends it."""
        with self._lock:
            self._collect()
            self._listeners.append(listener)
            self._watch()

    def unlisten(self, listener: Callable[[bytes], None]) -> None:
        """Undo a `listen`."""
        with self._lock:
            self._listeners.remove(listener)
            self._watch()

    def _watch(self) -> None:
        """Have the UART call `drain` at each byte, if there are listeners."""
        if self._uart is not None:
            self._uart.watched = bool(self._listeners)

    def transmitted(self, byte: int) -> None:
        """Add a byte to the output that the UART has not sent."""
        self._add(bytes((byte,)))

    def drain(self) -> None:
        """Collect what the UART has sent. Called by the UART when it can keep no more, and for listeners."""
        self._add(b"")

    @calls_users_code
    def _add(self, data: bytes) -> None:
        with self._lock:
            new = self._collect() + data
            if self._muted:
                return
            self._output += data
            listeners = list(self._listeners)
        for byte in new:
            for listener in listeners:
                listener(bytes((byte,)))

    def _collect(self) -> bytes:
        """Move what the UART has sent into the output. The lock is held: one thread may do it at a time."""
        new = self._uart.collect() if self._uart is not None else b""
        if self._muted:
            return b""
        self._output += new
        if len(self._output) > 2 * _KEPT:
            del self._output[:_KEPT]
        return new

    def read(self) -> bytes:
        """The guest's output since the last call (at most the newest mebibyte)."""
        with self._lock:
            if not self._listeners:  # which would miss what is collected here
                self._collect()
            output = bytes(self._output)
            self._output.clear()
        return output

    def write(self, data: bytes) -> None:
        """Type `data` at the guest. May be called from any thread; it arrives between two slices."""
        with self._lock:
            self._input += data
        self._arrived.set()

    def deliver(self) -> None:
        """Pass the input written so far to the UART. Called by the machine between slices."""
        if self._arrived.is_set():
            with self._lock:
                data = bytes(self._input)
                self._input.clear()
                self._arrived.clear()
            self.receive(data)

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """A context in which nobody sees what the guest sends, because it has sent it before."""
        with self._lock:
            self._collect()
            outer, self._muted = self._muted, True
        try:
            yield
        finally:
            with self._lock:
                self._collect()
                self._muted = outer

    def discard_input(self) -> None:
        """Drop input that has not arrived: the guest it was written for is gone."""
        with self._lock:
            self._input.clear()
            self._arrived.clear()

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`, or until input arrives."""
        self._arrived.wait(seconds)
