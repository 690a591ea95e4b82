# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on a pseudo-terminal, with somebody who types at it and reads what it shows."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.waiting import PATIENCE

TIMEOUT = PATIENCE  # seconds; what is waited for comes within one, on a computer with nothing else to do
CTRL_C = "\x03"
# Escape sequences (ECMA-48, 5.4), and the carriage returns that a terminal adds to line ends.
_DECORATION = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>]|\r")


class Terminal:
    """Runs `arguments` on a pseudo-terminal of their own. A context manager, whose end ends the program."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        master, slave = pty.openpty()
        self._process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "dumb", **(environment or {})},
            start_new_session=True,
            # The pseudo-terminal is the controlling one of the new session, so that Ctrl-C is a signal (TIOCSCTTY).
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(slave)
        self._master = master
        self._unread = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._master)

    def type(self, *lines: str) -> None:
        """Type lines, as fast as the terminal takes them."""
        os.write(self._master, "".join(f"{line}\n" for line in lines).encode())

    def press(self, key: str) -> None:
        """Press one key."""
        os.write(self._master, key.encode())

    def expect(self, pattern: str, timeout: float = TIMEOUT) -> str:
        """Read until `pattern`, a regular expression, has been shown; all that was shown up to its end.

        Fails with what was shown instead, when the time is over or the program has ended.
        """
        deadline = time.monotonic() + timeout
        while (found := re.search(pattern, self._unread, re.MULTILINE)) is None:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} was not shown. What was shown since:\n{self._unread}")
        shown, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return shown

    def rest(self, timeout: float = TIMEOUT) -> str:
        """All that has not been read, until the program ends. Fails when it does not end in time."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"the program did not end. What was shown since:\n{self._unread}")
        return self._unread

    def _read(self, timeout: float) -> bool:
        """Read what there is, waiting for it; False if there is nothing any more, or not in time."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, timeout))
        try:
            data = os.read(self._master, 1 << 16) if ready else b""
        except OSError:  # EIO: the program has ended, and with it the terminal's other end
            data = b""
        self._unread = _DECORATION.sub("", self._unread + data.decode(errors="replace"))
        return bool(data)
