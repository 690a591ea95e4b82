# SPDX-License-Identifier: GPL-2.0-or-later
"""qSupported: what each side can do (GDB manual, "General Query Packets")."""

from functools import lru_cache

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.target import Target


@lru_cache(maxsize=8)  # a client's first packet is looked at by the lobby and the handshake, too
def _parse(fields: bytes) -> frozenset[str]:
    words = fields.decode("latin-1").split(";")
    return frozenset(word[:-1] for word in words if word.endswith("+"))


class Query(Feature[Target]):
    words = (f"PacketSize={PACKET_SIZE:x}",)

    def answer(self, words: frozenset[str]) -> bytes:
        if words:  # without any it only asks: pwndbg does so behind gdb's back ("maintenance packet qSupported")
            self.connection.client_words = words
        return ";".join(self.connection.words()).encode()

    packets = (PacketKind("qSupported", _parse, answer, handshake=True, uncontrolled=True),)
