# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's console, beside the gdb that runs the guest."""

import re
from collections.abc import Callable

from armprobe.machine import MachineError
from armprobe.machine.devices.console import Pattern
from armprobe.session import Session

from .gdb_records import GdbError, GdbStop, GdbTimeout


class GdbConsole:
    """The guest's serial line. What this has taken of the output, the machine's own `Console` no longer has."""

    def __init__(
        self, session: Session, run: Callable[[float | None], GdbStop], interrupt: Callable[[], GdbStop]
    ) -> None:
        """run: resumes the machine and gives its stop, within the seconds given. interrupt: stops it."""
        self._session = session
        self._run = run
        self._interrupt = interrupt
        self._unread = b""

    def write(self, data: bytes) -> None:
        """Type `data`."""
        self._session.machine.console.write(data)

    def read(self) -> bytes:
        """The output that was not read yet."""
        data, self._unread = self._unread + self._session.machine.console.read(), b""
        return data

    def expect(self, pattern: Pattern, timeout: float | None = None) -> re.Match[bytes]:
        """Have gdb run the machine, which must be stopped, until the guest has printed `pattern`, and return the match.

        Output that has not been read is looked at first. What is up to the end of the match is read then. The machine
        is stopped afterwards, at the instruction that printed the match's last byte. `timeout` is in seconds, by
        default the session's. Raises `GdbTimeout` if the pattern is not printed in that time, and `GdbError`, with the
        end of the output, if the machine stops before, or the pattern is no regular expression. The output stays
        unread then.
        """
        before = self.read()
        self._unread = before
        try:
            with self._session.machine.console.watch(pattern, before) as watched:
                if (found := watched.pattern.search(before)) is None:
                    try:
                        stop = self._run(timeout)
                    except GdbTimeout as error:
                        self._interrupt()
                        raise GdbTimeout(watched.missing("in time"), error.transcript) from None
        except MachineError as error:
            raise GdbError(str(error)) from None
        if found is None:
            self._session.machine.console.read()  # what has been watched
            self._unread = bytes(watched.output)
            if (found := watched.match) is None:
                raise GdbError(watched.missing(f"before the machine stopped: {stop}"))
        self._unread = self._unread[found.end() :]
        return found
