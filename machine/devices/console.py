# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of the guest's serial line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from armprobe.machine.core.deferred_signals import calls_users_code

_KEPT: Final = 1 << 20  # bytes of unread output kept


class Console:
    """The guest's output can be read once, or listened to. Input written here arrives at the guest's UART."""

    def __init__(self) -> None:
        self._output = bytearray()
        self._input = bytearray()
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self.receive: Callable[[bytes], None] = lambda data: None
        self.listeners: list[Callable[[bytes], None]] = []

    @calls_users_code
    def transmitted(self, byte: int) -> None:
        """The UART sent a byte."""
        with self._lock:
            self._output.append(byte)
            if len(self._output) > 2 * _KEPT:
                del self._output[:_KEPT]
        for listener in self.listeners:
            listener(bytes((byte,)))

    def read(self) -> bytes:
        """The guest's output since the last call (at most the newest mebibyte)."""
        with self._lock:
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

    def discard_input(self) -> None:
        """Drop input that has not arrived: the guest it was written for is gone."""
        with self._lock:
            self._input.clear()
            self._arrived.clear()

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`, or until input arrives."""
        self._arrived.wait(seconds)
