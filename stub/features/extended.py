# SPDX-License-Identifier: GPL-2.0-or-later
"""!, vAttach, vRun, R: a client that stays when it lets go of the guest, and takes it again or starts it anew.

GDB manual, "Connecting" (`target extended-remote`) and "Packets". The one process is 1, and what it runs is the guest.
"""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError
from armprobe.stub.wire import anything, hex_text, names_the_thread, nothing

_ENOENT, _EINVAL = 2, 22


def _extend(connection: Connection, _: None) -> bytes:
    connection.extended = True
    return b"OK"


def _attach(connection: Connection, ours: bool) -> bytes:
    if not ours:
        return connection.error(_ENOENT, "there is one process, 1: `attach 1`")
    connection.take_again()
    return connection.stop_reply()


def _parse_run(fields: bytes) -> tuple[str, list[str]]:
    """vRun;filename;argument...: each in hexadecimal, and none where there is none."""
    name, *arguments = map(hex_text, fields.split(b";"))
    return name, arguments


def _run(connection: Connection, program: tuple[str, list[str]]) -> bytes:
    name, arguments = program
    if name and name != connection.program:
        raise TargetError(_ENOENT, "the machine runs the one guest it has: `run` without a file to execute")
    if any(arguments):
        raise TargetError(_EINVAL, "a guest takes no arguments from here: `run` without any")
    connection.restart()
    return connection.stop_reply()


def _restart(connection: Connection, _: bytes) -> None:
    """It has no reply: the client asks why the guest is stopped (GDB manual, "Packets")."""
    connection.restart()


FEATURE = Feature(
    packets=(
        PacketKind("!", nothing, _extend, handshake=True),
        PacketKind("vAttach", names_the_thread, _attach),
        PacketKind("vRun", _parse_run, _run),
        PacketKind("R", anything, _restart),
    ),
)
