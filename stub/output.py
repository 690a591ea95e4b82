# SPDX-License-Identifier: GPL-2.0-or-later
"""A queue of text that is printed inside a run and sent on the client's thread."""

import threading
from collections.abc import Callable

_HELD = 1 << 20  # characters in the queue
_PAUSE = 0.1  # seconds that a guest waits at each print once the queue is full


class Output:
    """The queue of one client. A guest that prints faster than the client reads is slowed down."""

    def __init__(self, post: Callable[[Callable[[], None]], None], send: Callable[[str], None]) -> None:
        """`post` calls a function on the client's thread, where `send` sends text."""
        self._post, self._send = post, send
        self._room = threading.Condition()
        self._pieces: list[str] = []
        self._size = 0
        self._closed = False

    def add(self, text: str, wait: bool) -> bool:
        """Queue `text`; False if the client is gone. With `wait`, wait a moment for room."""
        with self._room:
            if wait:  # only for a moment: it is inside the run, and others wait for the machine
                self._room.wait_for(lambda: self._size <= _HELD or self._closed, _PAUSE)
            if self._closed:
                return False
            self._pieces.append(text)
            self._size += len(text)
            if len(self._pieces) == 1:
                self._post(self.flush)
        return True

    def flush(self) -> None:
        """Send the queued text. On the client's thread."""
        if not self._pieces:  # as at nearly every stop
            return
        with self._room:
            text, self._pieces, self._size = "".join(self._pieces), [], 0
            self._room.notify_all()
        self._send(text)

    def close(self) -> None:
        """Stop queueing, as the client is gone, and wake those who wait for room."""
        with self._room:
            self._closed = True
            self._room.notify_all()
