# SPDX-License-Identifier: GPL-2.0-or-later
"""LLDB as a child process, whose Python answers requests on a socket (`lldb_agent.py`)."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from .gdb_records import GdbError, GdbTimeout, Transcript

AGENT: Final = Path(__file__).parent / "lldb_agent.py"
_GRACE: Final = 2.0  # seconds that LLDB has to exit by itself
_POLL: Final = 0.1  # seconds between checks that LLDB is alive


class LldbProcess:
    """A running LLDB. `end` must be called."""

    def __init__(self, lldb: str, transcript: Transcript) -> None:
        """lldb: its name or path. Raises `GdbError` if LLDB is absent."""
        path = shutil.which(lldb)
        if path is None:
            raise GdbError(
                f"{lldb} is not installed or not executable (Debian: apt-get install lldb; or pip install "
                "'armprobe[lldb]')"
            )
        self._transcript = transcript
        self._wire, theirs = socket.socketpair()
        self._received = b""
        self._number = 0
        with theirs:
            self.process = subprocess.Popen(
                [path, "--no-lldbinit", "--batch", "-o", f'command script import "{AGENT}"'],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "ARMPROBE_LLDB_AGENT": str(theirs.fileno())},
                start_new_session=True,  # a Ctrl-C for this program must not reach LLDB
            )

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
                    self.process.wait(_GRACE)
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
        self._wire.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
        finally:  # a Ctrl-C here is no reason to leave it behind
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
