# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:object:read: reads the documents of all features in pieces (GDB manual, "General Query Packets")."""

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.target import Target
from armprobe.stub.wire import MalformedPacket, span, split

_PIECE = PACKET_SIZE // 2 - 1  # bytes: each may need escaping, and 'm' or 'l' comes first


@lazy_dataclass
class Read:
    """The piece of a document that is wanted, in bytes."""

    document: str
    annex: str
    offset: int
    length: int

    @staticmethod
    def parse(fields: bytes) -> "Read | None":
        document, operation, rest = split(fields, b":", 3)
        if operation != b"read":
            return None
        annex, piece = split(rest, b":", 2)
        return Read(document.decode("latin-1"), annex.decode("latin-1"), *span(piece))


class Transfer(Feature[Target]):
    def read(self, read: Read | None) -> bytes:
        connection = self.connection
        found = connection.documents.get(read.document) if read else None
        if read is None or found is None:
            return b""
        document, feature = found
        if not document.uncontrolled:
            connection.require_control()
        if not document.available(feature):
            return b""
        text = document.read(feature, read.annex)
        if text is None:
            raise MalformedPacket(f"{read.document} has no annex {read.annex[:32]!r}")
        data = text.encode()
        end = read.offset + min(read.length, _PIECE)
        return (b"m" if end < len(data) else b"l") + data[read.offset : end]

    packets = (PacketKind("qXfer", Read.parse, read, reads=True, uncontrolled=True),)
