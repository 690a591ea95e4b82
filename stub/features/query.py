# SPDX-License-Identifier: GPL-2.0-or-later
"""qSupported: what each side can do (GDB manual, "General Query Packets")."""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE


def _parse(fields: bytes) -> frozenset[str]:
    words = fields.decode("latin-1").split(";")
    return frozenset(word[:-1] for word in words if word.endswith("+"))


def _answer(connection: Connection, words: frozenset[str]) -> bytes:
    connection.client_words = words
    return ";".join(connection.registry.words(connection)).encode()


FEATURE = Feature(
    packets=(PacketKind("qSupported", _parse, _answer, handshake=True),), words=(f"PacketSize={PACKET_SIZE:x}",)
)
