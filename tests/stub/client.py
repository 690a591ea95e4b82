# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger's side of the wire, written apart from the stub's so that one checks the other."""

import re
import socket
from typing import Self

from tests.waiting import PATIENCE

RESYNC = b"$$$#00"
"""An empty packet that is understood as one after anything, were it half a checksum."""


def escaped(data: bytes) -> bytes:
    """`data` as binary data of a packet."""
    return re.sub(rb"[#$}*]", lambda match: bytes((0x7D, match[0][0] ^ 0x20)), data)


def framed(payload: bytes) -> bytes:
    """A packet; `payload` has its escapes already."""
    return b"$" + payload + b"#" + f"{sum(payload) % 256:02x}".encode()


def pc(reply: bytes) -> int:
    """Register 32 (hexadecimal 20) of a stop reply."""
    return int.from_bytes(bytes.fromhex(reply.partition(b";20:")[2][:16].decode()), "little")


class Client:
    """Speaks to a server at `address` in the notation of `serve`, after a debugger's handshake unless told not to."""

    def __init__(self, address: str, *, handshake: bool = True) -> None:
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self.acknowledges = True
        self._received = b""
        if handshake:
            self.ask(b"?")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, payload: bytes) -> bytes:
        """Send a packet and give the payload of the reply to it."""
        self.send(framed(payload))
        return self.reply()

    def reply(self) -> bytes:
        """The payload of the next packet, escapes and all; its acknowledgment is sent, the one of ours is demanded."""
        if self.acknowledges:
            assert self.byte() == b"+"
        return self.packet()

    def packet(self) -> bytes:
        """The payload of the packet that comes now."""
        assert self.byte() == b"$"
        payload = b""
        while (byte := self.byte()) != b"#":
            payload += byte
        assert int(self.byte() + self.byte(), 16) == sum(payload) % 256
        if self.acknowledges:
            self.send(b"+")
        return payload

    def start_no_ack(self) -> None:
        assert self.ask(b"QStartNoAckMode") == b"OK"
        self.acknowledges = False

    def byte(self) -> bytes:
        """The next byte; fails at the end of the stream."""
        if not self._received:
            self._received = self.socket.recv(1 << 20)
            assert self._received, "the server hung up"
        byte, self._received = self._received[:1], self._received[1:]
        return byte

    def rest(self) -> bytes:
        """Everything until the server hangs up."""
        pieces = [self._received]
        self._received = b""
        try:
            while piece := self.socket.recv(1 << 16):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)
