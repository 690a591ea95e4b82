# SPDX-License-Identifier: GPL-2.0-or-later
"""Replies that take longer than gdb waits for one: a file that has to be made, the table of commands."""

import io
import re
import threading
from collections.abc import Callable
from typing import BinaryIO

import pytest

from armprobe.stub import ExecFile, connection
from tests.stub.client import framed
from tests.stub.fake import FakeTarget
from tests.stub.in_process import Wire
from tests.waiting import wait_until

NAME = "/armprobe/guest.elf"


@pytest.mark.parametrize(
    ("packet", "reply"),
    [(b"vFile:open:%s,0,0" % NAME.encode().hex().encode(), rb"F0"), (b"qArmprobe.commands", rb"1[0-9a-f]+")],
    ids=["file", "commands"],
)
def test_gdb_hears_something_meanwhile(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch, packet: bytes, reply: bytes
) -> None:
    """Notifications every now and then, whose form is that of the GDB manual's node: then gdb goes on waiting."""
    monkeypatch.setattr(connection, "_SIGN_OF_LIFE", 0.001)
    sent, table = bytearray(), target.command_table

    class Slow(Wire):
        def start(self, work: Callable[[], None]) -> None:
            threading.Thread(target=work).start()

        def send(self, data: bytes) -> None:
            sent.extend(data)

    def heard() -> None:
        wait_until(lambda: sent.count(b"%busy#c3") >= 3, "notifications")

    def read() -> BinaryIO:
        heard()
        return io.BytesIO()

    def command_table() -> str:
        heard()
        return table()

    target.program = ExecFile(NAME, read)
    monkeypatch.setattr(target, "command_table", command_table)
    slow = Slow(target)
    slow.receive(framed(b"qSupported:swbreak+"))
    slow.receive(framed(packet))
    assert re.fullmatch(rb"\+\$[^#]*#..\+(%%busy#c3){3,}\$%s#.." % reply, sent)
