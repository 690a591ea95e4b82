# SPDX-License-Identifier: GPL-2.0-or-later
"""qRcmd: the user's `monitor` commands (GDB manual, "General Query Packets").

The output of a command is sent as console text while it runs, and so is its error message: GDB 13 shows no text of an
error reply. An error reply behind the text makes gdb fail the command with "Protocol error with Rcmd". That is for
programs, which ask for it by QArmprobe.MonitorErrors.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Monitor, TargetError
from armprobe.stub.wire import hex_text, nothing

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection


class MonitorPackets(Feature[Monitor]):
    def __init__(self, connection: Connection, target: Monitor) -> None:
        super().__init__(connection, target)
        self._answers_errors = False  # whether the reply to a command that fails is an error

    def run(self, line: str) -> None:
        connection, target = self.connection, self.target

        def work() -> bytes:
            line_ended = True

            def out(text: str) -> None:
                nonlocal line_ended
                if text:
                    line_ended = text.endswith("\n")
                    connection.post(partial(connection.console, text))

            try:
                connection.require_control()
                succeeded = target.command(connection.client, line, out)
            except TargetError as error:
                succeeded = False
                out(error.message)
            if not line_ended:
                out("\n")  # or the client's prompt would follow on the same line
            return b"OK" if succeeded or not self._answers_errors else b"E01"

        connection.view.disown()  # gdb does not know what the command does
        connection.run_aside(work)

    def answer_errors(self, _: None) -> bytes:
        self._answers_errors = True
        return b"OK"

    packets = (
        PacketKind("qRcmd", hex_text, run, uncontrolled=True),
        PacketKind("QArmprobe.MonitorErrors", nothing, answer_errors, uncontrolled=True),
    )
