# SPDX-License-Identifier: GPL-2.0-or-later
"""qRcmd: the user's `monitor` commands (GDB manual, "General Query Packets").

What a command says is sent as console text while it runs, what went wrong too: in place of an error reply GDB 13 would
show none of it. With an error reply behind the text gdb takes the command for failed, and says "Protocol error with
Rcmd", which is for programs: QArmprobe.MonitorErrors asks for that.
"""

from functools import partial

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError
from armprobe.stub.wire import hex_text, nothing


def _run(connection: Connection, line: str) -> None:
    def work() -> bytes:
        line_ended = True

        def out(text: str) -> None:
            nonlocal line_ended
            if text:
                line_ended = text.endswith("\n")
                connection.post(partial(connection.console, text))

        try:
            succeeded = connection.target.command(connection.client, line, out)
        except TargetError as error:
            succeeded = False
            out(error.message)
        if not line_ended:
            out("\n")  # or the client's prompt would follow on the same line
        return b"OK" if succeeded or not connection.monitor_errors else b"E01"

    connection.run_aside(work)


def _answer_errors(connection: Connection, _: None) -> bytes:
    connection.monitor_errors = True
    return b"OK"


FEATURE = Feature(
    packets=(
        PacketKind("qRcmd", hex_text, _run),
        PacketKind("QArmprobe.MonitorErrors", nothing, _answer_errors),
    )
)
