# SPDX-License-Identifier: GPL-2.0-or-later
"""m, M, x, X: memory, in hexadecimal or in binary (GDB manual, "Packets")."""

from dataclasses import dataclass

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.target import TargetError
from armprobe.stub.wire import MalformedPacket, hex_data, span, split, to_hex

_EFAULT, _EROFS = 14, 30
_MOST = PACKET_SIZE // 2 - 1  # bytes in one reply: two digits each, or each escaped, after a letter


@dataclass(frozen=True)
class Read:
    """Where to read, and at most how many bytes: a reply may be short."""

    address: int
    length: int

    @staticmethod
    def parse(fields: bytes) -> "Read":
        address, length = span(fields)
        return Read(address, min(length, _MOST))


@dataclass(frozen=True)
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


def _memory(connection: Connection, read: Read) -> bytes:
    frame = connection.frame
    if frame is None or any(start <= read.address < end for start, end in connection.experiment.read_only):
        return connection.target.read_memory(read.address, read.length)
    data = frame.read(read.address, read.length)
    if not data:
        raise TargetError(_EFAULT, f"what was at 0x{read.address:x} is not in this trace frame")
    return data


def _read_hex(connection: Connection, read: Read) -> bytes:
    if not read.length:
        raise MalformedPacket("a read of no bytes")  # an empty reply would say that there is no such packet
    return to_hex(_memory(connection, read))


def _read_binary(connection: Connection, read: Read) -> bytes:
    # A read of no bytes is how clients find out that there is such a packet.
    return b"b" + (_memory(connection, read) if read.length else b"")


def _write(connection: Connection, write: Write) -> bytes:
    if connection.frame is not None:
        raise TargetError(_EROFS, "a trace frame is looked at, and cannot be changed: `tfind none` ends that")
    if write.data:
        connection.target.write_memory(write.address, write.data)
    return b"OK"


FEATURE = Feature(
    packets=(
        PacketKind("m", Read.parse, _read_hex, reads=True),
        PacketKind("M", Write.parse_hex, _write),
        PacketKind("x", Read.parse, _read_binary, reads=True),
        PacketKind("X", Write.parse_binary, _write),
    ),
    words=("binary-upload+",),
)
