# SPDX-License-Identifier: GPL-2.0-or-later
"""qSearch:memory and qCRC, against Python's own search and a CRC computed bit by bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.stub.connection import Connection
from armprobe.stub.features import REGISTRY
from tests.stub.client import Client
from tests.stub.fake import BASE, SIZE, FakeTarget


class Link:
    """Of a connection without a socket: what was sent."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def wake(self) -> None: ...

    def start(self, work) -> None:  # type: ignore[no-untyped-def]
        work()


def answer(target: FakeTarget, payload: bytes) -> bytes:
    link = Link()
    connection = Connection(target, REGISTRY, link)
    for packet in (b"QStartNoAckMode", payload):
        escaped = b"".join(b"}" + bytes([byte ^ 32]) if byte in b"#$}*" else bytes([byte]) for byte in packet)
        link.sent = b""
        connection.receive(b"$" + escaped + b"#%02x" % (sum(escaped) % 256))
    connection.leave()
    return link.sent[1:-3]


@given(
    st.binary(max_size=300),
    st.integers(0, 400),
    st.integers(0, 400),
    st.one_of(st.binary(min_size=1, max_size=4), st.integers(0, 300)),
)
def test_search(content: bytes, start: int, length: int, wanted: bytes | int) -> None:
    target = FakeTarget()
    target.memory[: len(content)] = content
    pattern = wanted if isinstance(wanted, bytes) else bytes(target.memory[wanted : wanted + 3])
    found = bytes(target.memory[start : start + length]).find(pattern)
    expected = b"0" if found < 0 else b"1,%x" % (BASE + start + found)
    assert answer(target, b"qSearch:memory:%x;%x;" % (BASE + start, length) + pattern) == expected


@pytest.mark.parametrize("at", [0, 0xFFFC, 0x8000, 0x7FFF])
def test_search_across_pieces(client: Client, target: FakeTarget, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr("armprobe.stub.features.search._PIECE", 0x1000)
    target.memory[at : at + 4] = b"here"
    assert client.ask(b"qSearch:memory:%x;%x;here" % (BASE, SIZE)) == b"1,%x" % (BASE + at)
    assert client.ask(b"qSearch:memory:%x;%x;there" % (BASE, SIZE)) == b"0"


def test_what_cannot_be_searched(client: Client) -> None:
    assert client.ask(b"qSearch:memory:%x;%x;x" % (BASE, SIZE + 1)) == b"E0e"
    assert client.ask(b"qSearch:memory:0;10;x") == b"E0e"
    for malformed in (b"qSearch:memory:0;10;", b"qSearch:memory:0;10", b"qSearch:memory:x;10;x", b"qSearch:memory:"):
        assert client.ask(malformed) == b"E01"


def xcrc32(data: bytes) -> int:
    """The algorithm as the GDB manual has it ("Separate Debug Files" and qCRC), a bit at a time."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C1_1DB7 if crc & 1 << 31 else 0)) & 0xFFFF_FFFF
    return crc


@given(st.binary(max_size=100))
def test_crc(content: bytes) -> None:
    target = FakeTarget()
    target.memory[: len(content)] = content
    assert answer(target, b"qCRC:%x,%x" % (BASE, len(content))) == b"C%x" % xcrc32(content)


def test_crc_of_what_is_not_there(client: Client, target: FakeTarget) -> None:
    assert client.ask(b"qCRC:%x,%x" % (BASE, SIZE)) == b"C%x" % xcrc32(bytes(target.memory))
    assert client.ask(b"qCRC:%x,%x" % (BASE, SIZE + 1)) == b"E0e"
    assert client.ask(b"qCRC:x,1") == b"E01"
