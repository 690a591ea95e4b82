# SPDX-License-Identifier: GPL-2.0-or-later
"""m, M, x, X: memory, in hexadecimal or in binary (GDB manual, "Packets")."""

import errno
from binascii import hexlify

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.target import Target, TargetError
from armprobe.stub.wire import MalformedPacket, hex_data, span, split

_MOST = PACKET_SIZE // 2 - 1  # bytes in one reply: two digits each, or each escaped, after a letter


@lazy_dataclass
class Read:
    """Where to read, and at most how many bytes: a reply may be short."""

    address: int
    length: int

    @staticmethod
    def parse(fields: bytes) -> "Read":
        address, length = span(fields)
        return Read(address, min(length, _MOST))


@lazy_dataclass
class Write:
    """Where to write what."""

    address: int
    data: bytes

    @staticmethod
    def of(fields: bytes, data: bytes) -> "Write":
        address, length = span(fields)
        if length != len(data):
            raise MalformedPacket(f"{len(data)} bytes were sent to be written as {length} at 0x{address:x}")
        return Write(address, data)

    @staticmethod
    def parse_hex(fields: bytes) -> "Write":
        where, data = split(fields, b":", 2)
        return Write.of(where, hex_data(data))

    @staticmethod
    def parse_binary(fields: bytes) -> "Write":
        where, data = split(fields, b":", 2)
        return Write.of(where, data)


class MemoryAccess(Feature[Target]):
    words = ("binary-upload+",)

    def _memory(self, read: Read) -> bytes:
        connection, address = self.connection, read.address
        if not address >> 63 and connection.threads.blocked is not None:
            raise TargetError(errno.EFAULT, "this task does not run: its process's memory is not mapped")
        frame = connection.trace.frame
        if frame is None or any(start <= address < end for start, end in connection.trace.experiment.read_only):
            return self.target.read_memory(address, read.length)
        data = frame.read(address, read.length)
        if not data:
            raise TargetError(errno.EFAULT, f"what was at 0x{address:x} is not in this trace frame")
        return data

    def read_hex(self, read: Read) -> bytes:
        if not read.length:
            raise MalformedPacket("a read of no bytes")  # an empty reply would say that there is no such packet
        return hexlify(self._memory(read))

    def read_binary(self, read: Read) -> bytes:
        # A read of no bytes is how clients find out that there is such a packet.
        return b"b" + (self._memory(read) if read.length else b"")

    def write(self, write: Write) -> bytes:
        if self.connection.trace.frame is not None:
            raise TargetError(errno.EROFS, "a trace frame is looked at, and cannot be changed: `tfind none` ends that")
        if write.data:
            self.target.write_memory(write.address, write.data)
        return b"OK"

    packets = (
        PacketKind("m", Read.parse, read_hex, reads=True),
        PacketKind("M", Write.parse_hex, write),
        PacketKind("x", Read.parse, read_binary, reads=True),
        PacketKind("X", Write.parse_binary, write),
    )
