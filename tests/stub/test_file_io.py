# SPDX-License-Identifier: GPL-2.0-or-later
"""File-I/O: F requests in place of stop replies, and F replies (GDB manual, "File-I/O Remote Protocol Extension")."""

import pytest

from armprobe.machine.semihosting import FileCall
from armprobe.stub import Server
from tests.stub.client import Client, framed
from tests.stub.fake import BASE, SIZE, FakeTarget

OPEN = FileCall("open", ((BASE + 0x100, 6), 0x601, 0o644))
REQUEST = b"Fopen,40000100/6,601,1a4"


@pytest.fixture
def asking(client: Client, target: FakeTarget) -> Client:
    """A client that has continued, of whom a file is asked."""
    target.asks[BASE + 8] = OPEN
    target.powers_off_at = BASE + SIZE - 8
    assert client.ask(b"vCont;c") == REQUEST
    return client


def test_request_and_answer(asking: Client, target: FakeTarget) -> None:
    """Between the two the client may look at memory, as it must for the name."""
    target.write_memory(BASE + 0x100, b"a.txt\0")
    assert asking.ask(b"m40000100,6") == b"612e74787400"
    assert asking.ask(b"F3") == b"W00"
    assert target.calls == ["attach", "answer 3 0 False"]


def test_failure(asking: Client, target: FakeTarget) -> None:
    assert asking.ask(b"F-1,2") == b"W00"
    assert target.calls[-1] == "answer -1 2 False"


def test_several_in_a_row(client: Client, target: FakeTarget) -> None:
    target.asks[BASE + 8] = OPEN
    target.asks[BASE + 16] = FileCall("close", (3,))
    target.powers_off_at = BASE + 32
    assert client.ask(b"vCont;c") == REQUEST
    assert client.ask(b"F3,0") == b"Fclose,3"
    assert client.ask(b"F0;") == b"W00"


def test_interrupted_by_the_user(asking: Client, target: FakeTarget) -> None:
    assert asking.ask(b"F-1,4,C").startswith(b"T02")
    assert target.calls[-1] == "answer -1 4 True"


def test_an_interrupt_that_crosses_the_request(asking: Client, target: FakeTarget) -> None:
    asking.send(b"\x03")
    assert asking.ask(b"F3").startswith(b"T02")
    assert target.calls[-1] == "answer 3 0 True"


@pytest.mark.parametrize("answer", [b"F", b"F-", b"Fx", b"F1,2,D", b"F1,2,C,3", b"F1,-2", b"F1" + b"0" * 16])
def test_malformed_answers(answer: bytes, asking: Client, target: FakeTarget) -> None:
    """They are refused, and the request is still there to be answered."""
    assert asking.ask(answer) == b"E01"
    assert asking.ask(b"F0") == b"W00"


def test_an_answer_to_nothing(client: Client, target: FakeTarget) -> None:
    assert client.ask(b"F0") == b"E16"
    assert target.calls == ["attach"]


def test_who_goes_on_without_answering_has_no_request_any_more(asking: Client, target: FakeTarget) -> None:
    assert asking.ask(b"vCont;s").startswith(b"T05")
    assert asking.ask(b"F0") == b"E16"


def test_a_client_that_leaves_instead(asking: Client, server: Server, target: FakeTarget) -> None:
    asking.send(framed(b"D"))
    assert asking.reply() == b"OK"
    asking.socket.close()
    with Client(server.address) as other:
        assert other.ask(b"F0") == b"E16"
        assert other.ask(b"?").startswith(b"T05")
