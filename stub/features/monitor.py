# SPDX-License-Identifier: GPL-2.0-or-later
"""qRcmd: the user's `monitor` commands (GDB manual, "General Query Packets").

What a command says is sent as console text while it runs, what went wrong too: in place of an error reply GDB 13 would
show none of it.
"""

from functools import partial

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError
from armprobe.stub.wire import hex_text


def _run(connection: Connection, line: str) -> None:
    def work() -> bytes:
        line_ended = True

        def out(text: str) -> None:
            nonlocal line_ended
            if text:
                line_ended = text.endswith("\n")
                connection.post(partial(connection.console, text))

        try:
            connection.target.command(line, out)
        except TargetError as error:
            out(error.message)
        if not line_ended:
            out("\n")  # or the client's prompt would follow on the same line
        return b"OK"

    connection.run_aside(work)


FEATURE = Feature(packets=(PacketKind("qRcmd", hex_text, _run),))
