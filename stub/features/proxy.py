# SPDX-License-Identifier: GPL-2.0-or-later
"""qArmprobe.*: what commands of the machine's own inside gdb ask for.

qArmprobe.commands          -> 1 and the table of commands, JSON
qArmprobe.run:LINE          -> 1 and what the command said, or 0 and what went wrong; 2 if it is not over soon
qArmprobe.wait              -> the same, of the command that was run last
qArmprobe.interrupt         -> the same, after interrupting it
qArmprobe.complete:LINE     -> 1 and the candidates, one a line
qArmprobe.place:PLACE       -> 1 and where that is, JSON: address, and name, start and size of the symbol it is in;
                               null if it is in none
qArmprobe.stop              -> 1 and the hit of a probe that the machine has stopped for, JSON: kind, name, function,
                               stage, hit; null if it has stopped for something else
qArmprobe.changes           -> 1 and what somebody else has changed since the client looked, which is to drop what it
                               knows: "registers", "memory" (and not those), or nothing

LINE and what follows the digit are text in hexadecimal. The digit lets gdb's side raise an error, which a reply to
qRcmd does not. A 2 has nothing behind it: gdb waits `remotetimeout` (2 s) for the reply to a packet, and a command may
take longer than that.
"""

import json
from dataclasses import asdict

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError
from armprobe.stub.visible import visible
from armprobe.stub.wire import hex_text, nothing, to_hex

_ECHILD = 10
_SOON = 0.5  # seconds


def _reply(succeeded: bool, text: str) -> bytes:
    return (b"1" if succeeded else b"0") + to_hex(visible(text))


def _run(connection: Connection, line: str) -> None:
    def work() -> bytes:
        said: list[str] = []
        try:
            succeeded = connection.target.command(connection.client, line, said.append)
        except TargetError as error:
            succeeded = False
            said.append(error.message)
        return _reply(succeeded, "".join(said))

    connection.begin(work)
    _wait(connection, None)


def _wait(connection: Connection, _: None) -> None:
    errand = connection.errand
    if errand is None:
        raise TargetError(_ECHILD, "no command has been run")

    def work() -> bytes:
        try:
            return errand.result(_SOON)
        except TimeoutError:
            return b"2"

    connection.run_aside(work)


def _interrupt(connection: Connection, _: None) -> None:
    connection.target.interrupt()
    _wait(connection, None)


def _stop(connection: Connection, _: None) -> bytes:
    probe = connection.stop.probe
    return _reply(True, json.dumps(None if probe is None else asdict(probe)))


def _place(connection: Connection, word: str) -> bytes:
    place = connection.target.place(word)
    return _reply(True, json.dumps(None if place is None else asdict(place)))


def _changes(connection: Connection, _: None) -> bytes:
    changed = connection.view.outdated
    connection.view.seen()
    return _reply(True, "registers" if changed.registers else "memory" if changed.memory else "")


FEATURE = Feature(
    packets=(
        PacketKind(
            "qArmprobe.commands",
            nothing,
            lambda connection, _: _reply(True, connection.target.command_table()),
            reads=True,
        ),
        PacketKind("qArmprobe.run", hex_text, _run),
        PacketKind("qArmprobe.wait", nothing, _wait),
        PacketKind("qArmprobe.interrupt", nothing, _interrupt),
        PacketKind(
            "qArmprobe.complete",
            hex_text,
            lambda connection, line: _reply(True, "\n".join(connection.target.complete(line))),
            reads=True,
        ),
        PacketKind("qArmprobe.place", hex_text, _place, reads=True),
        PacketKind("qArmprobe.stop", nothing, _stop, reads=True),
        PacketKind("qArmprobe.changes", nothing, _changes, reads=True),
    ),
)
