# SPDX-License-Identifier: GPL-2.0-or-later
"""The first packets of a client, which show whether it is a debugger.

A web page can make a browser send nearly any bytes to a local port: a packet can be the method of an HTTP request, its
headers and its body. But such a request is sent as a whole, with a space behind the method, while a debugger waits for
each reply. So until a client has made the handshake of debuggers it is taken for one only while it sends one whole
packet at a time, that the machine knows and that changes nothing, with no byte beside it that is not part of the
protocol. What it says is judged before any of it is acted on.
"""

from .feature import Registry
from .framing import Acknowledgment, Deframer, Interrupt, Packet
from .wire import MalformedPacket, quote

MOST = 4096
"""Bytes that may come before the handshake: gdb 18's qSupported has 300. A request cannot be padded beyond what is read
at once."""


class NotADebugger(Exception):
    """The client is no debugger, or one that does not wait for replies; the text says how that shows."""


def opening(said: bytes, registry: Registry) -> Packet | None:
    """The packet that a client without handshake has sent; None while it is incomplete.

    said: all that has come since the last reply. Raises `NotADebugger`.
    """
    deframer, packets = Deframer(), list[Packet]()
    for event in deframer.feed(said):
        match event:
            case Packet():
                packets.append(event)
            case Acknowledgment() | Interrupt():
                pass
            case _:
                raise NotADebugger("its first bytes are no packet")
    if len(said) > MOST:
        raise NotADebugger(f"its first packet has more than {MOST} bytes")
    if not packets:
        return None
    packet = packets[0]
    found = registry.find(packet.payload)
    if found is None or not (found[0].handshake or found[0].reads):
        raise NotADebugger(
            f"it begins with {quote(packet.payload[:20])} instead of qSupported, QStartNoAckMode, ! or ?"
        )
    if len(packets) > 1 or deframer.begun:
        raise NotADebugger(f"it did not wait for the reply to {quote(packet.payload[:20])}")
    kind, fields = found
    try:
        kind.parse(fields)
    except MalformedPacket as error:
        raise NotADebugger(f"its first packet is malformed: {error}") from None
    return packet


class Handshake:
    """Takes the bytes of a client until its handshake is over."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._said = bytearray()  # since the last reply
        self.over = False
        """Whether the client is taken for a debugger. Its later bytes need no such care."""

    def feed(self, data: bytes) -> Packet | None:
        """The packet that `data` completes. Raises `NotADebugger`."""
        self._said += data
        packet = opening(bytes(self._said), self._registry)
        if packet is not None:
            self._said.clear()
            found = self._registry.find(packet.payload)
            self.over = found is not None and found[0].handshake
        return packet
