# SPDX-License-Identifier: GPL-2.0-or-later
"""QStartNoAckMode: no more '+' and '-' over a link that loses nothing (GDB manual, "Packet Acknowledgment")."""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.wire import nothing


def _start(connection: Connection, _: None) -> bytes:
    connection.acknowledging = False
    return b"OK"


FEATURE = Feature(
    packets=(PacketKind("QStartNoAckMode", nothing, _start, handshake=True),), words=("QStartNoAckMode+",)
)
