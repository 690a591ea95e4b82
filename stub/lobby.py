# SPDX-License-Identifier: GPL-2.0-or-later
"""One thread for all clients that have connected and not yet shown that they are debuggers.

A client that says nothing, or never ends its first packet, costs a socket here and keeps nobody out.
"""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from .feature import Registry
from .framing import enframe
from .opening import MOST, NotADebugger, opening
from .refusals import GREETING, refusal

log = logging.getLogger("armprobe.stub")

SILENCE = 10.0  # seconds in which a client must have sent its first packet; a debugger does at once
_HANDOVER = 0.5  # seconds; the next client may come before the end of the last one has been noticed
FAREWELL = 0.5  # seconds for a client to read why it is turned away
_MOST = 256  # clients that wait; if more come, those that have been silent for longest are dropped
_AT_ONCE = 32  # clients accepted before those that are there are listened to again
_REFUSED = "another debugger is in control of this machine: detach it first"


@dataclass(eq=False)
class _PendingClient:
    """A client that waits."""

    socket: socket.socket
    until: float
    """When it is given up, by the clock of `time.monotonic`."""
    said: bytearray = field(default_factory=bytearray)
    ready: bool = False
    """Whether it is a debugger, and waits for the machine to be free."""
    leaving: bool = False
    """Whether it was turned away, and is only left the time to read why. Were it closed at once, with something of it
    unread, the reset would take the reason with it."""


class Lobby:
    """The clients of a listening socket that are not yet served."""

    def __init__(
        self,
        listener: socket.socket,
        registry: Registry,
        control: threading.Semaphore,
        serve: Callable[[socket.socket, bytes], None],
    ) -> None:
        """`serve` is called for a debugger, with its socket and what was read from it, when `control` has been
        acquired for it; on the lobby's thread, so that it must not wait. Both are its own then."""
        self._listener, self._registry, self._control, self._serve = listener, registry, control, serve
        self._visitors: dict[_PendingClient, None] = {}  # in the order in which they came
        self._woken, self._waker = socket.socketpair()
        self._closed = False
        self._selector = selectors.DefaultSelector()
        for ours in (self._woken, self._listener):
            ours.setblocking(False)
            self._selector.register(ours, selectors.EVENT_READ)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="stub lobby", daemon=True)

    def start(self) -> None:
        """Take clients."""
        self._thread.start()

    def wake(self) -> None:
        """Have the lobby look again whether the machine is free. Called from any thread."""
        with suppress(OSError):  # it is full of wakings, or closed
            self._waker.send(b"!")

    def close(self, patience: float) -> None:
        """Disconnect all clients. Waits at most `patience` seconds for the thread to end."""
        self._closed = True
        self.wake()
        self._thread.join(patience)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._once()
        finally:
            for visitor in list(self._visitors):
                self._drop(visitor)
            self._selector.close()
            self._woken.close()
            self._waker.close()

    def _once(self) -> None:
        first = min((visitor.until for visitor in self._visitors), default=None)
        for key, _ in self._selector.select(None if first is None else max(first - time.monotonic(), 0)):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._woken:
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif key.data in self._visitors:  # it may have made room for another one just now
                self._listen(key.data)
        now = time.monotonic()
        for visitor in list(self._visitors):
            if visitor.ready and self._enter(visitor):
                continue
            if visitor.until <= now:
                if visitor.ready:
                    self._turn_away(visitor, b"+" + enframe(refusal(_REFUSED)))
                else:
                    self._drop(visitor)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if not self._closed:
                    log.error("a client could not be accepted: %s", error.strerror)
                    if not self._make_room():
                        time.sleep(0.1)  # out of file descriptors, say, and the client still waits
                return
            if len(self._visitors) >= _MOST:
                self._make_room()
            connected.setblocking(False)
            visitor = _PendingClient(connected, time.monotonic() + SILENCE)
            self._visitors[visitor] = None
            self._selector.register(connected, selectors.EVENT_READ, visitor)

    def _make_room(self) -> bool:
        """Drop the client that has been silent for longest, or any if none is silent; False if there is no client."""
        victim = min(self._visitors, key=lambda visitor: visitor.ready, default=None)
        if victim is not None:
            self._drop(victim)
        return victim is not None

    def _listen(self, visitor: _PendingClient) -> None:
        """Read from a client."""
        try:
            data = visitor.socket.recv(MOST + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(visitor)
        elif not visitor.leaving:
            visitor.said += data
            try:
                ready = opening(bytes(visitor.said), self._registry) is not None
            except NotADebugger as error:
                log.info("a client is turned away: %s", error)
                self._turn_away(visitor, GREETING)
                return
            except Exception as error:
                log.error("a client was lost to a defect of the stub: %r", error)
                self._drop(visitor)
                return
            if ready:
                visitor.ready, visitor.until = True, time.monotonic() + _HANDOVER

    def _enter(self, visitor: _PendingClient) -> bool:
        """Serve a debugger if the machine is free. True if it waits no longer: it is served, turned away or gone."""
        self._listen(visitor)
        if not visitor.ready or visitor not in self._visitors:
            return True
        if not self._control.acquire(blocking=False):
            return False
        del self._visitors[visitor]
        self._selector.unregister(visitor.socket)
        self._serve(visitor.socket, bytes(visitor.said))
        return True

    def _turn_away(self, visitor: _PendingClient, why: bytes) -> None:
        visitor.ready, visitor.leaving, visitor.until = False, True, time.monotonic() + FAREWELL
        with suppress(OSError):
            visitor.socket.send(why)
            visitor.socket.shutdown(socket.SHUT_WR)

    def _drop(self, visitor: _PendingClient) -> None:
        del self._visitors[visitor]
        self._selector.unregister(visitor.socket)
        visitor.socket.close()
