# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's serial output as text, decoded from pieces of bytes with terminal control sequences."""

import codecs
import re
import threading
import time
from collections.abc import Callable
from typing import Final

# ECMA-48: control sequences (5.4), control strings such as the window title (5.6; xterm also ends them by BEL), and the
# other escape sequences (ECMA-35, 13.2).
_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x18|\x1a|\x1b\\)|[ -/]*[0-OQ-WYZ`-~\\])"
)
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x18\x1a\x1b]*\x1b?|[ -/]*)\Z")
_LONGEST: Final = 4096  # bytes: a longer sequence counts as text
_QUIET: Final = 0.1  # seconds of wall time after which an unfinished line, most likely a prompt, is shown
_LINE: Final = 4096  # characters: a longer line is shown before its end


class ConsoleText:
    """Decodes UTF-8 and removes control sequences. A sequence cut in two by a piece is kept for the next piece."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = b""

    def add(self, data: bytes) -> str:
        """The text of the next piece, with LF as line end."""
        data = _SEQUENCE.sub(b"", self._held + data)
        cut = _UNFINISHED.search(data, max(0, len(data) - _LONGEST)) or re.search(rb"\r+\Z", data)
        self._held, data = (data[cut.start() :], data[: cut.start()]) if cut else (b"", data)
        return re.sub("\r+\n", "\n", self._decode(data))


class ConsoleLines:
    """Shows the guest's output line by line as it comes, and an unfinished line once the guest has paused in it.

    `show` is called with whole lines, or the beginning or the rest of one. The calls come from the thread that runs the
    guest or, after a pause, from another.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._text = ConsoleText()
        self._line = ""
        self._lock = threading.RLock()
        self._last = 0.0  # time of the last output
        self._timer: threading.Timer | None = None

    def add(self, data: bytes) -> None:
        """Take output of the guest."""
        with self._lock:
            self._line += self._text.add(data)
            if "\n" in self._line or len(self._line) > _LINE:
                self.flush()
            elif self._line:
                self._last = time.monotonic()
                if self._timer is None:
                    self._wait(_QUIET)

    def flush(self) -> None:
        """Show the unfinished line."""
        with self._lock:
            line, self._line = self._line, ""
            if line:
                self._show(line)

    def discard(self) -> None:
        """Forget the unfinished line, which is shown in another way."""
        with self._lock:
            self._line = ""

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            self._timer = None
            if self._line:
                left = self._last + _QUIET - time.monotonic()
                if left > 0:
                    self._wait(left)
                else:
                    self.flush()
