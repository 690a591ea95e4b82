# SPDX-License-Identifier: GPL-2.0-or-later
"""QStartNoAckMode: no more '+' and '-' over a link that loses nothing (GDB manual, "Packet Acknowledgment")."""

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Target
from armprobe.stub.wire import nothing


class NoAck(Feature[Target]):
    words = ("QStartNoAckMode+",)

    def start(self, _: None) -> bytes:
        self.connection.sender.acknowledging = False
        return b"OK"

    packets = (PacketKind("QStartNoAckMode", nothing, start, handshake=True, uncontrolled=True),)
