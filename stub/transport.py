# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets and threads: one thread for the clients that wait (`Lobby`), one more for the client that is in control."""

import logging
import os
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from . import address as addresses
from .connection import Connection, State
from .feature import Registry
from .features import REGISTRY
from .lobby import FAREWELL, Lobby
from .target import Client, Debuggable, Target, target_of
from .tracing import Experiment

log = logging.getLogger("armprobe.stub")

_SEND = 10  # seconds; a client that reads nothing for so long is gone
_JOIN = 5.0  # seconds
# Seconds for which the next packet is looked for before the thread sleeps: a debugger sends dozens in a row, and to be
# woken takes as long as to answer one. With one core that would only keep the debugger from writing it.
_PROMPT = 200e-6 if len(os.sched_getaffinity(0)) > 1 else 0.0


def serve(served: Target | Debuggable, address: str = addresses.PRIVATE, *, trust_tcp: bool = False) -> "Server":
    """Serve a target, or that of a session, to debuggers.

    The address is "127.0.0.1:1234", "localhost:0" (any free port), "unix:/path" or "private".
    A private address is a unix socket in a folder that only this user can enter, both of which go with the server.
    A debugger's commands may touch the files and processes of this computer if it comes by a unix socket from a process
    of the same user's or of root's; with `trust_tcp` so may those of any that comes over TCP.
    Returns at once. Raises `StubError` if it cannot listen there.
    """
    return Server(target_of(served), addresses.listen(address), trust_tcp)


class Server:
    """Serves one client at a time, on threads of its own, until closed.

    While a client is in control, another one's first packet is answered with an error that says so, and its connection
    closed.
    """

    def __init__(self, target: Target, listener: addresses.Listener, trust_tcp: bool = False) -> None:
        self.address = listener.address
        """Where it really listens, in the notation of `serve`."""
        self._target = target
        self._listener = listener
        self._trust_tcp = trust_tcp
        self._lock = threading.Lock()  # over the two below
        self._closed = False
        self._client: _Client | None = None
        self._experiment = Experiment(target)  # which may outlast the client that began it
        self._control = threading.Semaphore(1)
        self._registry = REGISTRY.served(target)
        # The next client and what was read from it; None to end. Waking one is quicker than starting a thread.
        self._next: queue.SimpleQueue[tuple[socket.socket, bytes] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve_all, name="stub client", daemon=True).start()
        self._lobby = Lobby(listener.socket, self._registry, self._control, lambda *client: self._next.put(client))
        self._lobby.start()

    def close(self) -> None:
        """Stop listening and disconnect the client, which leaves the machine as its detaching would.

        Waits for that, up to 5 seconds: a target whose methods wait for a thread is not closed from that thread.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            client = self._client
        self._lobby.close(_JOIN)
        self._listener.close()
        if client:
            client.hang_up()
        self._next.put(None)
        self._control.acquire(timeout=_JOIN)  # not for ever: a machine that is stuck may be why we close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve_all(self) -> None:
        while (client := self._next.get()) is not None:
            self._serve(*client)

    def _serve(self, connected: socket.socket, said: bytes) -> None:
        with connected:
            try:
                with self._client_on(connected) as client:
                    with self._lock:
                        if self._closed:
                            return
                        self._client = client
                    client.run(said)
            except Exception as error:
                log.error("a client was lost to a defect of the stub: %r", error)
                log.debug("where it was raised", exc_info=True)
            finally:
                with self._lock:
                    self._client = None
                self._control.release()
                self._lobby.wake()
            _part(connected)

    def _client_on(self, connected: socket.socket) -> "_Client":
        return _Client(self._target, self._registry, connected, self._experiment, self._identify(connected))

    def _identify(self, connected: socket.socket) -> Client:
        """Decide whether the client is trusted with this computer's files and processes."""
        return Client(addresses.same_user(connected) or (self._trust_tcp and connected.family != socket.AF_UNIX))


class _Client:
    """The connection's link to a socket."""

    def __init__(
        self,
        target: Target,
        registry: Registry,
        connected: socket.socket,
        experiment: Experiment,
        client: Client,
    ) -> None:
        self._socket = connected
        connected.setblocking(True)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND, 0))
        # Sockets and not a pipe, since what wakes us late must not write to a number that is another file by then.
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(connected, select.POLLIN)
        self._connection = Connection(target, registry, self, experiment, client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._woken.close()
        self._waker.close()

    def run(self, said: bytes) -> None:
        """Serve the client, of which `said` has been read already, until it leaves."""
        try:
            self._connection.receive(said)
            while self._connection.state is not State.DISCONNECTED:
                self._step()
        except OSError:
            pass  # reset by the client: as good as the end of the stream
        finally:
            self._connection.leave()

    def hang_up(self) -> None:
        """End the stream. Called from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self.hang_up()

    def wake(self) -> None:
        with suppress(OSError):  # it is full of wakings, or closed
            self._waker.send(b"!")

    def start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="stub command", daemon=True).start()

    def _step(self) -> None:
        """Wait for bytes of the client or, while the machine runs for it, for the machine too, and handle them."""
        if self._connection.state is State.BUSY:
            ready = dict(self._poll.poll())
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
                self._connection.deliver()
            if self._socket.fileno() not in ready:
                return
        self._receive()

    def _receive(self) -> None:
        data = self._at_once() if _PROMPT else None
        if data is None:
            data = self._socket.recv(1 << 16)
        if data:
            self._connection.receive(data)
        else:
            self._connection.leave()

    def _at_once(self) -> bytes | None:
        """The bytes that the client sends within `_PROMPT`; None if there are none."""
        until = time.perf_counter() + _PROMPT
        while time.perf_counter() < until:
            try:
                return self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
        return None


def _part(connected: socket.socket) -> None:
    """Let a client read the last packet and hang up first.

    Otherwise its acknowledgment fails, and it may show that failure instead of the packet.
    """
    with suppress(OSError):
        connected.settimeout(FAREWELL)
        connected.shutdown(socket.SHUT_WR)
        connected.recv(1 << 16)
