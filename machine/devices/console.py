# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of the guest's serial line."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.errors import MachineError
from armprobe.machine.stop import StopReason

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

    from .pl011 import Pl011

Pattern = str | bytes | re.Pattern[bytes]
_KEPT: Final = 1 << 20  # bytes of unread output kept
_WINDOW: Final = 4096  # bytes that a match of `expect` may have
_SLICE: Final = 1_000_000  # instructions after which the guest's time is looked at
_SHOWN: Final = 200  # bytes of the last output in an error


class Watched:
    """What `Console.watch` has seen. `match` is None until the pattern has been printed. `output` is all of it."""

    def __init__(self, pattern: re.Pattern[bytes], before: bytes) -> None:
        self.pattern = pattern
        self.match = pattern.search(before)
        self.output = bytearray(before)

    def missing(self, why: str) -> str:
        """The message of an error for a pattern that has not been printed."""
        said = bytes(self.output[-_SHOWN:])
        return f"the console has not printed {self.pattern.pattern!r} {why}; its output ends with {said!r}"


class Console:
    """The guest's output can be read once, or listened to. Input written here arrives at the guest's UART."""

    def __init__(self) -> None:
        self._output = bytearray()
        self._input = bytearray()
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._machine: Machine | None = None
        self._uart: Pl011 | None = None
        self.receive: Callable[[bytes], None] = lambda data: None
        self._listeners: list[Callable[[bytes], None]] = []
        self._muted = False

    def connect(self, machine: Machine, uart: Pl011, receive: Callable[[bytes], None]) -> None:
        """Be the far end of `uart` of `machine`. Input is given to `receive`, which is to have it arrive there."""
        self._machine, self._uart, self.receive = machine, uart, receive

    def expect(self, pattern: Pattern, timeout: float = 60.0) -> re.Match[bytes]:
        """Run the guest until it has printed `pattern`, a regular expression, and return the match.

        Output that has not been read is looked at first. What is up to the end of the match is read then, and what is
        behind it is not. `timeout` is in seconds of the guest's time. Raises MachineError, with the end of the output,
        when the pattern is not printed in that time and when the guest stops before; the output stays unread then.
        """
        assert self._machine is not None
        wanted, machine, why = _compiled(pattern), self._machine, ""
        before = self.read()
        end = machine.clock.seconds + timeout
        with self.watch(wanted, before) as watched:
            while watched.match is None and not why:
                stop = machine.run(instructions=_SLICE)
                if stop.reason not in (StopReason.INSTRUCTIONS, StopReason.INTERRUPTED):
                    why = f"before the guest stopped ({stop.text or stop.reason.value})"
                elif stop.reason is StopReason.INTERRUPTED:
                    why = "before it was interrupted"
                elif machine.clock.seconds >= end:
                    why = f"within {timeout:g} s of the guest's time"
        self.read()
        if watched.match is None:
            self._unread(bytes(watched.output))
            raise MachineError(watched.missing(why))
        self._unread(bytes(watched.output[watched.match.end() :]))
        return watched.match

    @contextlib.contextmanager
    def watch(self, pattern: Pattern, before: bytes = b"") -> Iterator[Watched]:
        """A context in which a run of the guest ends when its output has `pattern`. `before` is output just before,
        which may have it already.

        Raises MachineError for a pattern that is no regular expression.
        """
        assert self._machine is not None
        wanted, machine = _compiled(pattern), self._machine
        watched = Watched(wanted, before)

        def listen(data: bytes) -> None:
            watched.output += data
            if watched.match is None:
                # Of a copy: a match keeps its text from being changed.
                start = max(0, len(watched.output) - _WINDOW)
                if wanted.search(bytes(watched.output[start:])) is not None:
                    watched.match = wanted.search(bytes(watched.output), start)
                    machine.interrupt()

        self.listen(listen)
        try:
            yield watched
        finally:
            self.unlisten(listen)

    def _unread(self, data: bytes) -> None:
        """Have output be unread again."""
        with self._lock:
            self._output[:0] = data

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
            if data:
                self._arrived.set()

    def deliver(self) -> None:
        """Pass the input written so far to the UART. Called by the machine between slices."""
        if self._input:
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


def _compiled(pattern: Pattern) -> re.Pattern[bytes]:
    if isinstance(pattern, re.Pattern):
        return pattern
    try:
        return re.compile(pattern.encode("utf-8", "surrogateescape") if isinstance(pattern, str) else pattern)
    except re.error as error:
        raise MachineError(f"{pattern!r} is no regular expression: {error}") from None
