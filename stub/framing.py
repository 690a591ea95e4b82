# SPDX-License-Identifier: GPL-2.0-or-later
"""The outermost layer of the protocol: a stream of bytes taken apart into packets and signs, and packets put together.

Pure: bytes in, events out. GDB manual, "Overview" (of the remote protocol), "Packet Acknowledgment", "Interrupts".
"""

import re
import zlib
from collections.abc import Iterator

from armprobe.machine.lazy_dataclass import lazy_dataclass

PACKET_SIZE = 0x20000
"""The largest payload, in bytes on the wire, escapes included: 64 KiB of memory in hexadecimal."""

_CHECKSUMS = [b"%02x" % value for value in range(256)]
_ESCAPED = re.compile(rb"\}(.)", re.DOTALL)
_SHORT = 256  # bytes
_SPECIAL = re.compile(rb"[}#$*]")
# '*' would start a run-length encoding in a reply. '}' comes first: it is in what the others become.
_ESCAPES = [(bytes((byte,)), bytes((0x7D, byte ^ 0x20))) for byte in b"}#$*"]


@lazy_dataclass
class Packet:
    """A packet that arrived whole; `payload` has its escapes undone."""

    payload: bytes


@lazy_dataclass
class Damaged:
    """A packet whose checksum is wrong."""


@lazy_dataclass
class Oversized:
    """A packet larger than `PACKET_SIZE`, of which nothing was kept."""


@lazy_dataclass
class Ignored:
    """A packet that was given up for another, or a notification ('%'), which only servers send."""


@lazy_dataclass
class Interrupt:
    """A 0x03 between packets; inside a packet it is data."""


@lazy_dataclass
class Acknowledgment:
    """A '+', or a '-' where the client asks to have the last packet again."""

    positive: bool


@lazy_dataclass
class Noise:
    """A byte between packets that means nothing, which no debugger sends."""

    byte: int


Event = Packet | Damaged | Oversized | Ignored | Interrupt | Acknowledgment | Noise

_SIGNS: dict[int, Event] = {ord("+"): Acknowledgment(True), ord("-"): Acknowledgment(False), 0x03: Interrupt()}
_STARTS = b"$%"
_IGNORED = Ignored()


class Deframer:
    """Takes bytes in pieces of any size. The events do not depend on where the pieces end."""

    def __init__(self) -> None:
        self.begun = bytearray()
        """The bytes of a packet that is not yet whole, from its '$' or '%' on."""
        self._searched = 1  # how much of the buffer is known to have no '#'
        self._oversized = False  # inside a packet whose body so far was thrown away
        self._given_up = False  # before the packet just read another one had begun

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes."""
        self.begun += data
        while self.begun:
            if self.begun[0] not in _STARTS:
                byte = self.begun.pop(0)
                yield _SIGNS.get(byte) or Noise(byte)
            elif event := self._packet():
                if self._given_up:
                    self._given_up = False
                    yield _IGNORED
                yield event
            else:
                return

    def _packet(self) -> Event | None:
        buffer = self.begun
        end = buffer.find(b"#", self._searched)
        if (end if end >= 0 else len(buffer)) - 1 > PACKET_SIZE:
            self._oversized = True
            if end < 0:
                del buffer[1:]
        if end < 0 or len(buffer) < end + 3:
            self._searched = len(buffer) if end < 0 else end
            return None
        # A '$' inside is where a new packet began: the sender gave up on the old one, as it would be escaped in data.
        start = buffer.rfind(b"$", 0, end)
        body = bytes(buffer[start + 1 : end])
        checksum = bytes(buffer[end + 1 : end + 3])
        oversized, self._oversized = self._oversized, False
        del buffer[: end + 3]
        self._searched = 1
        if start < 0:
            return _IGNORED
        self._given_up = start > 0
        if oversized:
            return Oversized()
        if checksum.lower() != _checksum(body):
            return Damaged()
        return Packet(_ESCAPED.sub(lambda match: bytes((match[1][0] ^ 0x20,)), body) if b"}" in body else body)


def enframe(payload: bytes) -> bytes:
    """The packet that carries `payload`, as bytes to send."""
    body = payload
    if len(body) <= _SHORT and not _SPECIAL.search(body):
        return b"$%b#%b" % (body, _CHECKSUMS[sum(body) & 0xFF])
    for byte, escaped in _ESCAPES:  # what takes longer where little is searched
        body = body.replace(byte, escaped)
    return b"$%b#%b" % (body, _checksum(body))


def notification(payload: bytes) -> bytes:
    """The notification `payload`, without characters to escape. gdb drops one that it does not know.

    GDB manual, "Notification Packets"; gdb/remote-notif.c, handle_notification.
    """
    return b"%%%b#%b" % (payload, _checksum(payload))


def _checksum(body: bytes) -> bytes:
    """Two digits for the sum of all bytes, modulo 256."""
    if len(body) < 1024:
        return _CHECKSUMS[sum(body) & 0xFF]
    # Adler-32's lower half is that sum, plus 1 and modulo 65521 (RFC 1950), which 256 bytes do not reach; and it is
    # computed ten times as quickly.
    pieces = (body[at : at + 256] for at in range(0, len(body), 256))
    return _CHECKSUMS[sum((zlib.adler32(piece) & 0xFFFF) - 1 for piece in pieces) & 0xFF]
