# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that came while the machine ran, which are answered when it has stopped."""

from collections import deque

from .framing import PACKET_SIZE

MOST = 4 * PACKET_SIZE
"""Bytes of held packets: far more than a client pipelines."""
_COST = 64  # bytes that keeping a packet takes besides, as it may be empty


class HeldPackets:
    """Payloads in the order in which they came."""

    def __init__(self) -> None:
        self.payloads: deque[bytes] = deque()
        self._size = 0  # bytes

    def hold(self, payload: bytes) -> bool:
        """Keep a packet; False if there are more than `MOST` bytes then."""
        self.payloads.append(payload)
        self._size += len(payload) + _COST
        return self._size <= MOST

    def next(self) -> bytes:
        """Take out the first."""
        payload = self.payloads.popleft()
        self._size -= len(payload) + _COST
        return payload
