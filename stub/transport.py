# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets and threads: one thread accepts clients, one more serves the client that is in control."""

import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from . import address as addresses
from .connection import Connection, State, refusal
from .features import REGISTRY
from .framing import enframe
from .target import Target
from .tracing import Experiment

log = logging.getLogger("armprobe.stub")

_FIRST_PACKET = 10.0  # seconds; a debugger speaks at once, and who does not must not keep others out
_SEND = 10  # seconds; a client that reads nothing for so long is gone
_HANDOVER = 0.5  # seconds; the next client may come before the end of the last one has been noticed
_REFUSAL = 0.5  # seconds for the client to read why
_JOIN = 5.0  # seconds
# Seconds for which the next packet is looked for before the thread sleeps: a debugger sends dozens in a row, and to be
# woken takes as long as to answer one. With one core that would only keep the debugger from writing it.
_PROMPT = 200e-6 if len(os.sched_getaffinity(0)) > 1 else 0.0
_REFUSED = "another debugger is in control of this machine: detach it first"


def serve(target: Target, address: str) -> "Server":
    """Serve `target` to debuggers at "127.0.0.1:1234", "localhost:0" (any free port) or "unix:/path".

    Returns at once. Raises `StubError` if it cannot listen there.
    """
    return Server(target, addresses.listen(address))


class Server:
    """Serves one client at a time, on threads of its own, until closed.

    While a client is in control, another one's first packet is answered with an error that says so, and its connection
    closed.
    """

    def __init__(self, target: Target, listener: socket.socket) -> None:
        self.address = addresses.written(listener)
        """Where it really listens, in the notation of `serve`."""
        self._target = target
        self._listener = listener
        self._lock = threading.Lock()  # over the two below
        self._closed = False
        self._client: _Client | None = None
        self._experiment = Experiment(target)  # which may outlast the client that began it
        self._control = threading.Semaphore(1)
        self._acceptor = threading.Thread(target=self._accept, name=f"stub {self.address}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening and disconnect the client, which leaves the machine as its detaching would.

        Waits for that, up to 5 seconds: a target whose methods wait for a thread is not closed from that thread.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            client = self._client
        addresses.forget(self._listener)
        if client:
            client.hang_up()
        if self._control.acquire(timeout=_JOIN):  # not for ever: a machine that is stuck may be why we close
            self._acceptor.join(_JOIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError as error:
                if self._closed:
                    return
                log.error("a client could not be accepted: %s", error.strerror)
                time.sleep(0.1)  # out of file descriptors, say, and the client still waits
                continue
            if self._control.acquire(timeout=_HANDOVER):
                threading.Thread(target=self._serve, args=(connected,), name="stub client", daemon=True).start()
            else:
                _refuse(connected)

    def _serve(self, connected: socket.socket) -> None:
        try:
            with connected, _Client(self._target, connected, self._experiment) as client:
                with self._lock:
                    if self._closed:
                        return
                    self._client = client
                client.run()
        except Exception as error:
            log.error("a client was lost to a defect of the stub: %r", error)
            log.debug("where it was raised", exc_info=True)
        finally:
            with self._lock:
                self._client = None
            self._control.release()


class _Client:
    """The connection's link to a socket."""

    def __init__(self, target: Target, connected: socket.socket, experiment: Experiment) -> None:
        self._socket = connected
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
        self._connection = Connection(target, REGISTRY, self, experiment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._woken.close()
        self._waker.close()

    def run(self) -> None:
        """Serve the client until it leaves."""
        try:
            self._attach()
            while self._connection.state is not State.DISCONNECTED:
                self._step()
        except OSError:
            pass  # reset by the client, or silent for too long: as good as the end of the stream
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

    def _attach(self) -> None:
        """Wait for the packet that shows that this is a debugger."""
        deadline = time.monotonic() + _FIRST_PACKET
        while self._connection.state is State.IDLE and not self._connection.attached:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            self._receive()
        self._socket.settimeout(None)

    def _step(self) -> None:
        """Wait for the client or, while it waits for the machine, for that too; act on what came."""
        if self._connection.state is State.BUSY:
            ready = dict(self._poll.poll())
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
                self._connection.deliver()
            if self._socket.fileno() not in ready:
                return
        self._receive()

    def _receive(self) -> None:
        data = self._at_once()
        if data is None:
            data = self._socket.recv(1 << 16)
        if data:
            self._connection.receive(data)
        else:
            self._connection.leave()


    def _at_once(self) -> bytes | None:
        """What the client sends without delay; None if that is nothing."""
        until = time.perf_counter() + _PROMPT
        while time.perf_counter() < until:
            with suppress(BlockingIOError):
                return self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
        return None


def _refuse(connected: socket.socket) -> None:
    """Say why in answer to the client's first packet, then let it hang up first: else what we said may be lost."""
    with connected, suppress(OSError):
        connected.settimeout(_REFUSAL)
        connected.recv(1 << 16)
        connected.sendall(b"+" + enframe(refusal(_REFUSED)))
        connected.shutdown(socket.SHUT_WR)
        connected.recv(1 << 16)
