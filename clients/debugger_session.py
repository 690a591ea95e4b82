# SPDX-License-Identifier: GPL-2.0-or-later
"""What `GdbSession` and `LldbSession` have in common."""

import subprocess
from abc import ABC, abstractmethod
from typing import Self

from armprobe.session import Session
from armprobe.stub import Debuggable, Server, Target, serve

from .gdb_console import GdbConsole
from .gdb_records import GdbError, GdbStop, Transcript, expected_stop
from .gdb_values import DebuggerBreakpoint

TIMEOUT = 30.0
"""Seconds: the default limit for each operation."""


class DebuggerSession(ABC):
    """One debugger attached to one stub. A context manager. Not for use by several threads at once.

    Each `GdbError` has the session's last lines as `transcript`.
    """

    _process: subprocess.Popen[bytes]

    def __init__(self, where: str | Target | Debuggable, timeout: float | None) -> None:
        """where: the address of a stub, or a target to serve. timeout: seconds each operation may take."""
        self.timeout = TIMEOUT if timeout is None else timeout
        self._where = where
        self._running = False
        self._transcript = Transcript()
        self._server: Server | None = None
        self._console = GdbConsole(where, self.continue_to_stop, self.interrupt) if isinstance(where, Session) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._process.returncode is not None:
            state = "closed"
        else:
            state = "the machine runs" if self._running else "the machine is stopped"
        return f"<{type(self).__name__} {self._where}, {state}>"

    @abstractmethod
    def cont(self) -> None:
        """Resume the machine and return."""

    def continue_to_stop(self, timeout: float | None = None) -> GdbStop:
        """Resume the machine and wait until it stops."""
        self.cont()
        return self.wait_for_stop(timeout)

    @abstractmethod
    def interrupt(self, timeout: float | None = None) -> GdbStop:
        """Stop the running machine. If it stops by itself at that moment, that stop is returned."""

    @abstractmethod
    def wait_for_stop(self, timeout: float | None = None) -> GdbStop:
        """Wait until the machine that was resumed stops.

        Raises `GdbTimeout`, and leaves the machine running. Raises `GdbError` if the debugger or the stub has ended.
        """

    def expect_stop(
        self,
        *,
        reason: str | None = None,
        function: str | None = None,
        breakpoint: DebuggerBreakpoint | int | None = None,
        timeout: float | None = None,
    ) -> GdbStop:
        """Wait as `wait_for_stop` does, and return the stop if it is as expected in all that is given.

        reason: gdb's word for it, as `GdbStop.reason`. function: the one that the machine stops in. breakpoint: the one
        hit, or its number. Raises `UnexpectedStop` for another stop, `GdbTimeout` if none comes, and `GdbError` as
        `wait_for_stop`; the message ends with the transcript.
        """
        number = breakpoint.number if isinstance(breakpoint, DebuggerBreakpoint) else breakpoint
        wanted = {"reason": reason, "function": function, "breakpoint": number}
        return expected_stop(lambda: self.wait_for_stop(timeout), self._transcript, wanted)

    @property
    def console(self) -> GdbConsole:
        """The guest's console. Raises `GdbError` if the session was given an address: GDB's protocol has no console."""
        if self._console is None:
            raise GdbError("the guest's console is only there in a session that was given a Session, not an address")
        return self._console

    def close(self) -> None:
        """End the debugger, which detaches, and the stub if it was started for this session. May be called twice."""
        try:
            self._end()
        finally:
            if self._server:
                self._server.close()
                self._server = None

    @abstractmethod
    def _end(self) -> None:
        """End the debugger. May be called twice."""

    def _address(self) -> str:
        """The address of the stub, which is started if the session was given a target."""
        if not isinstance(self._where, str):
            self._server = serve(self._where)
            self._where = self._server.address
        return self._where
