# SPDX-License-Identifier: GPL-2.0-or-later
"""qArmprobe.*: packets of armprobe's own commands inside gdb.

qArmprobe.commands          -> 1 and the table of commands, JSON
qArmprobe.run:LINE          -> 1 and the output of the command, or 0 and its error; 2 if it is not over soon
qArmprobe.value:LINE        -> the same, with the answer as --json has it in place of the output
qArmprobe.wait              -> the same, of the command that was run last
qArmprobe.interrupt         -> the same, after interrupting it
qArmprobe.complete:LINE     -> 1 and the candidates, one a line
qArmprobe.place:PLACE       -> 1 and where that is, JSON: address, and name, start and size of the symbol it is in;
                               null if it is in none
qArmprobe.stop              -> 1 and JSON: position, the machine's present one, and if it has stopped for the hit of a
                               probe kind, name, function, stage, hit
qArmprobe.context           -> 1 and what the user wants to see after each stop; nothing unless asked for
qArmprobe.changes           -> 1 and what somebody else has changed since the client looked: "registers", "memory" (and
                               no registers), or nothing; the client then forgets what it knows

LINE and what follows the digit are text in hexadecimal. The digit lets gdb's side raise an error, which a reply to
qRcmd does not. A 2 has nothing behind it: gdb waits `remotetimeout` (2 s) for the reply to a packet, and a command may
take longer than that.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import TYPE_CHECKING

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Client, Commands, ProbeHit, TargetError
from armprobe.stub.visible import visible
from armprobe.stub.wire import hex_text, nothing, to_hex

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

_SOON = 0.5  # seconds
_HIT = ("kind", "name", "function", "stage", "hit")  # what qArmprobe.stop says of a `ProbeHit`


def _reply(succeeded: bool, text: str) -> bytes:
    return (b"1" if succeeded else b"0") + to_hex(visible(text))


class Proxy(Feature[Commands]):
    def __init__(self, connection: Connection, target: Commands) -> None:
        super().__init__(connection, target)
        self._running: Future[bytes] | None = None  # the command that was run last

    def commands(self, _: None) -> bytes:
        # gdb would be left without armprobe's commands if it gave up: a program inside it asks only once.
        return _reply(True, self.connection.patiently(self.target.command_table))

    def run(self, line: str) -> None:
        self._begin(lambda client, out: self.target.command(client, line, out))

    def value(self, line: str) -> None:
        def command(client: Client, out: Callable[[str], None]) -> bool:
            out(self.target.command_value(client, line))
            return True

        self._begin(command)

    def _begin(self, command: Callable[[Client, Callable[[str], None]], bool]) -> None:
        connection = self.connection

        def work() -> bytes:
            said: list[str] = []
            try:
                connection.require_control()
                succeeded = command(connection.client, said.append)
            except TargetError as error:
                succeeded = False
                said.append(error.message)
            return _reply(succeeded, "".join(said))

        self._running = connection.begin(work)
        self.wait(None)

    def wait(self, _: None) -> None:
        running = self._running
        if running is None:
            raise TargetError(errno.ECHILD, "no command has been run")

        def work() -> bytes:
            try:
                return running.result(_SOON)
            except TimeoutError:
                return b"2"

        self.connection.run_aside(work)

    def interrupt(self, _: None) -> None:
        self.connection.interrupt()
        self.wait(None)

    def complete(self, line: str) -> bytes:
        return _reply(True, "\n".join(self.target.complete(line)))

    def place(self, word: str) -> bytes:
        place = self.target.place(word)
        return _reply(True, json.dumps(None if place is None else asdict(place)))

    def context(self, _: None) -> bytes:
        return _reply(True, self.target.context())

    def stop(self, _: None) -> bytes:
        stop = self.connection.stop
        hit = {name: getattr(stop, name) for name in _HIT} if isinstance(stop, ProbeHit) else {}
        return _reply(True, json.dumps({"position": self.target.position, **hit}))

    def changes(self, _: None) -> bytes:
        changed = self.connection.view.outdated
        self.connection.view.seen()
        return _reply(True, "registers" if changed.registers else "memory" if changed.memory else "")

    packets = (
        PacketKind("qArmprobe.commands", nothing, commands, reads=True),
        PacketKind("qArmprobe.run", hex_text, run, uncontrolled=True),
        PacketKind("qArmprobe.value", hex_text, value, uncontrolled=True),
        PacketKind("qArmprobe.wait", nothing, wait, uncontrolled=True),
        PacketKind("qArmprobe.interrupt", nothing, interrupt),
        PacketKind("qArmprobe.complete", hex_text, complete, reads=True),
        PacketKind("qArmprobe.place", hex_text, place, reads=True),
        PacketKind("qArmprobe.stop", nothing, stop, reads=True, uncontrolled=True),
        PacketKind("qArmprobe.context", nothing, context),
        PacketKind("qArmprobe.changes", nothing, changes, reads=True, uncontrolled=True),
    )
