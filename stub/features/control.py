# SPDX-License-Identifier: GPL-2.0-or-later
"""qAttached, D, k, vKill: how the client's control began and how it ends (GDB manual, "Packets")."""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.wire import anything, of_process


def _detach(connection: Connection, _: bytes) -> bytes:
    connection.let_go()
    return b"OK"


def _kill(connection: Connection, _: bytes) -> bytes | None:
    """gdb does not wait for an answer, and has hung up; LLDB does, for the one to a guest that a signal has ended."""
    extended = connection.extended  # who stays awaits no reply
    try:
        if not connection.released:
            connection.experiment.stop("tstop", "the guest was killed")
            connection.target.kill()
    finally:
        connection.let_go()
    return None if extended else b"X09" + of_process(connection.client_words)


def _kill_process(connection: Connection, _: bytes) -> bytes:
    _kill(connection, _)
    return b"OK"


FEATURE = Feature(
    packets=(
        # 1: the machine was there before the client, so that a client that quits detaches and does not kill.
        PacketKind("qAttached", anything, lambda *_: b"1", reads=True),
        PacketKind("D", anything, _detach, leaves=True),
        PacketKind("k", anything, _kill, leaves=True),
        PacketKind("vKill", anything, _kill_process, leaves=True),
    ),
)
