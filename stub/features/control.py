# SPDX-License-Identifier: GPL-2.0-or-later
"""qAttached and D; k and vKill: how the client's control began and how it ends (GDB manual, "Packets")."""

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Restart, Target
from armprobe.stub.wire import anything, of_process


class Attachment(Feature[Target]):
    def was_attached(self, _: bytes) -> bytes:
        """1: the machine was there before the client, so that a client that quits detaches and does not kill."""
        return b"1"

    def detach(self, _: bytes) -> bytes:
        self.connection.let_go()
        return b"OK"

    packets = (
        PacketKind("qAttached", anything, was_attached, reads=True, uncontrolled=True),
        PacketKind("D", anything, detach, leaves=True, uncontrolled=True),
    )


class Killing(Feature[Restart]):
    def kill(self, _: bytes) -> bytes | None:
        """gdb does not wait for an answer, and has hung up. LLDB does, for the one to a guest that a signal ended."""
        connection = self.connection
        extended = connection.extended  # a client that stays awaits no reply
        try:
            if not connection.released:
                connection.trace.experiment.stop("tstop", "the guest was killed")
                self.target.kill()
        finally:
            connection.let_go()
        return None if extended else b"X09" + of_process(connection.client_words)

    def kill_process(self, _: bytes) -> bytes:
        self.kill(_)
        return b"OK"

    packets = (
        PacketKind("k", anything, kill, leaves=True, uncontrolled=True),
        PacketKind("vKill", anything, kill_process, leaves=True, uncontrolled=True),
    )
