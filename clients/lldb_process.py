# SPDX-License-Identifier: GPL-2.0-or-later
"""LLDB as a child process, whose Python answers requests on a socket (`lldb_agent.py`)."""

import contextlib
import json
import select
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from .debugger_process import GRACE, ending, started
from .gdb_records import GdbError, GdbTimeout, Transcript

AGENT: Final = Path(__file__).parent / "lldb_agent.py"
_POLL: Final = 0.1  # seconds between checks that LLDB is alive


class LldbProcess:
    """A running LLDB. `end` must be called."""

    def __init__(self, lldb: str, transcript: Transcript) -> None:
        """lldb: its name or path. Raises `GdbError` if LLDB is absent or does not run."""
        self._transcript = transcript
        self._wire, theirs = socket.socketpair()
        self._received = b""
        self._number = 0
        with theirs, contextlib.ExitStack() as refused:
            refused.callback(self._wire.close)
            self.process = started(
                lldb,
                ["--no-lldbinit", "--batch", "-o", f'command script import "{AGENT}"'],
                {"ARMPROBE_LLDB_AGENT": str(theirs.fileno())},
                package="Debian: apt-get install lldb; or pip install 'armprobe[lldb]'",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            refused.pop_all()

    def ask(self, call: str, arguments: dict[str, Any], timeout: float) -> Any:
        """What the agent's method `call` returns, within `timeout` seconds. Raises `GdbError` with LLDB's reason."""
        self._number += 1
        request = json.dumps({"id": self._number, "call": call, "with": arguments})
        self._transcript.sent(request)
        with contextlib.suppress(OSError):  # which the answer shows
            self._wire.sendall(f"{request}\n".encode())
        deadline = time.monotonic() + timeout
        while True:
            answer = json.loads(self._line(call, deadline, timeout))
            if answer["id"] == self._number:  # else it is late, for a request that was given up
                break
        if "error" in answer:
            raise GdbError(answer["error"], str(self._transcript))
        return answer["value"]

    def _line(self, call: str, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._wire], [], [], max(0.0, min(_POLL, left)))
            data = b""
            with contextlib.suppress(OSError):
                data = self._wire.recv(1 << 16) if ready else b""
            self._received += data
            if ready and not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(GRACE)
                raise GdbError(
                    f"LLDB ended with status {self.process.poll()}, before the answer to {call}", str(self._transcript)
                )
            if not ready and left <= 0:
                raise GdbTimeout(f"waited {timeout:g} s for LLDB's answer to {call}", str(self._transcript))
        line, _, self._received = self._received.partition(b"\n")
        text = line.decode(errors="replace")
        self._transcript.received({"type": "output", "message": None, "payload": text, "token": None})
        return line

    def end(self) -> None:
        """Have LLDB detach and exit, or kill it if it does not, and reap it. May be called twice."""
        with ending(self.process):
            self._wire.close()
