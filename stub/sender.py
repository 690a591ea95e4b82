# SPDX-License-Identifier: GPL-2.0-or-later
"""The sending side of a connection: signs and packets, collected until the link sends them in one piece."""

from collections.abc import Callable

from .framing import PACKET_SIZE, enframe

_RESENDS = 3  # how often GDB itself tries


class Sender:
    """Sends to one client."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._output = bytearray()
        self._last = b""  # packet
        self._resends = 0  # of that
        self.acknowledging = True
        """Whether packets are answered with '+' and '-', and sent again on request."""

    def acknowledge(self, sign: bytes) -> None:
        """Send '+' or '-' for a packet that came."""
        if self.acknowledging:
            self.send(sign)

    def reply(self, payload: bytes) -> None:
        """Send a packet."""
        self._last, self._resends = enframe(payload), 0
        self._output += self._last
        if len(self._output) > PACKET_SIZE:
            self.flush()

    def send_again(self) -> None:
        """Send the last packet again, but not for ever."""
        if self.acknowledging and self._resends < _RESENDS:
            self._resends += 1
            self.send(self._last)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._output += data
        if len(self._output) > PACKET_SIZE:
            self.flush()

    def flush(self) -> None:
        """Give the link everything that was collected."""
        if self._output:
            self._send(bytes(self._output))
            self._output.clear()
