# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection without a socket or a thread: what is sent to it is answered before `receive` returns."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from armprobe.stub import Target
from armprobe.stub.connection import Connection, State
from armprobe.stub.features import REGISTRY
from tests.stub.client import RESYNC
from tests.waiting import PATIENCE

_UNHURRIED = 1.0  # seconds a machine may run before it is interrupted
_PIECE = re.compile(rb"[+-]|\$([^#]*)#([0-9a-f]{2})", re.DOTALL)


def resident() -> int:
    """Bytes of memory this process has (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Wire:
    """A client's end of such a connection to `target`."""

    def __init__(self, target: Target) -> None:
        self._sent = b""
        self.connection = Connection(target, REGISTRY, self)

    def send(self, data: bytes) -> None:
        self._sent += data

    def wake(self) -> None:
        """`receive` looks by itself."""

    def start(self, work: Callable[[], None]) -> None:
        work()

    def receive(self, data: bytes) -> list[bytes]:
        """Give the connection `data`; the signs and payloads, their escapes undone, that it sends in answer.

        Fails if what it sends is anything else.
        """
        self.connection.receive(data)
        began, interrupted = time.monotonic(), False
        while self.connection.state is State.BUSY and time.monotonic() < began + PATIENCE:
            if not interrupted and time.monotonic() > began + _UNHURRIED:  # it may wait for an interrupt for ever
                self.connection.receive(RESYNC + b"\x03")
                interrupted = True
            time.sleep(0)
            self.connection.deliver()
        sent, self._sent = self._sent, b""
        found, at = [], 0
        while at < len(sent):
            match = _PIECE.match(sent, at)
            assert match, f"it sent {sent[at : at + 80]!r}"
            at = match.end()
            if match[2] is None:
                found.append(match[0])
                continue
            assert sum(match[1]) % 256 == int(match[2], 16)
            found.append(b"$" + re.sub(rb"\}(.)", lambda m: bytes([m[1][0] ^ 0x20]), match[1], flags=re.DOTALL))
        return found
