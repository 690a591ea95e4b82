# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests of a real browser and of curl, stored as bytes by `record`: none of them is taken for a debugger."""

from contextlib import suppress
from pathlib import Path

import pytest

from armprobe.stub import serve
from tests.browsers.cases import NAMES, OPENED_KILL, SAVE
from tests.browsers.record import FOLDER
from tests.stub.client import Client  # tests have no import name to go by
from tests.stub.fake import FakeTarget

REQUESTS = sorted(FOLDER.glob("*.bin"))


def test_all_are_there_and_say_what_does_harm() -> None:
    assert {path.stem for path in REQUESTS} == set(NAMES)
    said = {path.stem: path.read_bytes() for path in REQUESTS}
    assert said["rebound-method-kill"].startswith(OPENED_KILL.encode() + b" / HTTP/1.1\r\n")
    assert b"Host: rebound.example:" in said["rebound-method-kill"]
    assert sum(SAVE.encode() in each for each in said.values()) > 20


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_a_request_does_nothing(path: Path) -> None:
    """Sent at once, and with the body after the headers, as browsers do."""
    said = path.read_bytes()
    headers, end, body = said.partition(b"\r\n\r\n")
    target = FakeTarget()
    with serve(target, "127.0.0.1:0", trust_tcp=True) as server:
        for pieces in ([said], [headers + end, body]):
            with Client(server.address, handshake=False) as client:
                for piece in filter(None, pieces):
                    try:
                        client.send(piece)
                    except OSError:
                        break  # hung up on while it was sending
                assert b"$" not in client.rest()
    assert target.calls == []


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_a_request_behind_a_debugger_s_handshake_ends_there(path: Path) -> None:
    """What comes before the first byte that is none of a debugger's is the debugger's own."""
    target = FakeTarget()
    with serve(target, "127.0.0.1:0") as server, Client(server.address) as client:
        with suppress(OSError):
            client.send(path.read_bytes())
        client.rest()
    assert target.calls[-1] == "detach"
