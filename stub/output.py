# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that is printed from inside a run, on its way to the client."""

import threading
from collections.abc import Callable

_HELD = 1 << 20  # characters of output that may wait for the client
_PAUSE = 0.1  # seconds that the guest then waits each time it prints


class Output:
    """Text from inside a run on its way to the client. Who prints faster than the client reads has to wait."""

    def __init__(self, post: Callable[[Callable[[], None]], None], send: Callable[[str], None]) -> None:
        """`post` has something done on the client's thread, and there `send` sends text."""
        self._post, self._send = post, send
        self._room = threading.Condition()
        self._pieces: list[str] = []
        self._size = 0
        self._closed = False

    def add(self, text: str, wait: bool) -> bool:
        """Have `text` sent; False if there is no client any more."""
        with self._room:
            if wait:  # inside the run, where others wait too for what they want of the machine
                self._room.wait_for(lambda: self._size <= _HELD or self._closed, _PAUSE)
            if self._closed:
                return False
            self._pieces.append(text)
            self._size += len(text)
            if len(self._pieces) == 1:
                self._post(self.flush)
        return True

    def flush(self) -> None:
        """Send what there is. On the client's thread."""
        with self._room:
            text, self._pieces, self._size = "".join(self._pieces), [], 0
            self._room.notify_all()
        if text:
            self._send(text)

    def close(self) -> None:
        """The client is gone: nobody waits for it."""
        with self._room:
            self._closed = True
            self._room.notify_all()
