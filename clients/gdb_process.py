# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb as a child process that speaks GDB/MI on its standard input and output."""

import contextlib
import math
import subprocess
from collections.abc import Mapping

from pygdbmi.gdbmiparser import parse_response, response_is_finished
from pygdbmi.IoManager import IoManager

from .debugger_process import ending, started
from .gdb_records import Record

_NO_RECORD = "=traceframe-changed,end"


class GdbProcess(IoManager):
    """A running gdb. `end` must be called."""

    def __init__(self, gdb: str, timeout: float, environment: Mapping[str, str]) -> None:
        """gdb: its name or path. timeout: seconds that gdb waits for the stub. environment: variables added to ours.

        Raises `GdbError` if gdb is absent or does not run.
        """
        self.process = started(
            gdb,
            # By default gdb takes a reply that is 2 seconds late for the reply to its next packet. -l sets this limit.
            ["--nx", "--quiet", "--interpreter=mi3", "-l", str(math.ceil(timeout))],
            environment,
            package="Debian: apt-get install gdb-multiarch",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.process.stdin
        assert self.process.stdout
        # The last argument is how long to continue reading after output has come. 0 would mean until the timeout.
        super().__init__(self.process.stdin, self.process.stdout, None, 1e-6)

    def end(self) -> None:
        """Have gdb detach and exit, or kill it if it does not, and reap it. May be called twice."""
        if self.process.returncode is None:
            with ending(self.process), contextlib.suppress(OSError, ValueError):  # OSError: it has ended already
                self.write("-gdb-exit", read_response=False)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()

    def _get_responses_list(self, raw_output: bytes, stream: str) -> list[Record]:
        """The records of the lines that are whole now.

        pygdbmi's own formats each record for its log, which takes longer than all the rest, and cannot parse gdb's one
        record that breaks MI's grammar, at `tfind none`.
        """
        came = (self._incomplete_output.get(stream) or b"") + raw_output  # in pieces of any size
        whole, _, self._incomplete_output[stream] = came.rpartition(b"\n")
        return [
            {**parse_response(line), "stream": stream}
            for line in whole.decode(errors="replace").split("\n")
            if line and line != _NO_RECORD and not response_is_finished(line)
        ]
