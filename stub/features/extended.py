# SPDX-License-Identifier: GPL-2.0-or-later
"""!, vAttach; vRun, R: a client that stays connected without control of the guest, takes it again and restarts it.

GDB manual, "Connecting" (`target extended-remote`) and "Packets". There is one process, 1, which is the guest.
"""

import errno

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Program, Restart, Target, TargetError
from armprobe.stub.wire import anything, hex_text, names_the_process, nothing


def _parse_run(fields: bytes) -> tuple[str, list[str]]:
    """vRun;filename;argument...: each in hexadecimal; the name may be empty."""
    name, *arguments = map(hex_text, fields.split(b";"))
    return name, arguments


class Extended(Feature[Target]):
    def extend(self, _: None) -> bytes:
        self.connection.extended = True
        return b"OK"

    def attach(self, ours: bool) -> bytes:
        if not ours:
            return self.connection.error(errno.ENOENT, "there is one process, 1: `attach 1`")
        self.connection.take_again()
        return self.connection.stop_reply()

    packets = (
        PacketKind("!", nothing, extend, handshake=True, uncontrolled=True),
        PacketKind("vAttach", names_the_process, attach, uncontrolled=True),
    )


class Starting(Feature[Restart]):
    def run(self, program: tuple[str, list[str]]) -> bytes:
        name, arguments = program
        if name and name != self._program:
            raise TargetError(errno.ENOENT, "the machine runs the one guest it has: `run` without a file to execute")
        if any(arguments):
            raise TargetError(errno.EINVAL, "a guest takes no arguments from here: `run` without any")
        self.restart(b"")
        return self.connection.stop_reply()

    def restart(self, _: bytes) -> None:
        """R has no reply: the client asks why the guest is stopped (GDB manual, "Packets")."""
        self.connection.take_again()
        self.connection.restarted(self.target.restart())

    @property
    def _program(self) -> str | None:
        """The name of the file that the machine runs; None if there is none."""
        file = self.target.exec_file() if isinstance(self.target, Program) else None
        return file.name if file else None

    packets = (
        PacketKind("vRun", _parse_run, run, uncontrolled=True),
        PacketKind("R", anything, restart, uncontrolled=True),
    )
