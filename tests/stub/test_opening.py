# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client must say to be taken for a debugger, and what ends the connection of one that is."""

import socket
from itertools import pairwise

import pytest

from armprobe.stub import Server
from armprobe.stub.connection import State
from armprobe.stub.features import REGISTRY
from tests.stub.client import Client, framed
from tests.stub.fake import FakeTarget
from tests.stub.in_process import Wire
from tests.waiting import PATIENCE

PROTOCOL = b"+-$%\x03"  # GDB manual: "Packet Acknowledgment", "Overview", "Notification Packets", "Interrupts"
HANDSHAKES = (b"qSupported:multiprocess+", b"QStartNoAckMode", b"!", b"?")
# GDB manual, "Packets" and "General Query Packets": what only asks.
READING = (
    *b"g p0 m40000000,4 x40000000,4 qC qfThreadInfo qsThreadInfo qThreadExtraInfo,1 Hg0 Hc-1 T1 qAttached".split(),
    *b"vCont? qXfer:features:read:target.xml:0,fff qXfer:threads:read::0,fff qCRC:40000000,4 qTStatus".split(),
    *b"qSearch:memory:40000000;10;x qMemoryRegionInfo:40000000 qArmprobe.commands qArmprobe.stop".split(),
)
CHANGING = (
    *b"G00 P0=0000000000000000 M40000000,1:00 X40000000,1:a Z0,40000000,4 z0,40000000,4 c s C05 S05".split(),
    *b"vCont;c vCont;s D D;1 k vKill;1 R00 vRun; vAttach;1 F0 qRcmd,68656c70 qArmprobe.run:68656c70".split(),
    *b"QTinit QTStart QTStop QTDP:1:40000010:E:0:0 QTBuffer:size:1000 QTFrame:0 QTNotes:user:61".split(),
)


class Turned(Wire):
    """A client that is told what it has connected to."""

    def receive(self, data: bytes) -> list[bytes]:
        self.connection.receive(data)
        return []


def test_each_packet_that_is_served_is_one_of_these() -> None:
    names = {kind.name: kind for kind in REGISTRY.kinds}
    found = [{REGISTRY.find(packet)[0].name for packet in group} for group in (HANDSHAKES, READING, CHANGING)]  # type: ignore[index]
    assert {name for name, kind in names.items() if kind.handshake} == found[0]
    assert found[1] <= {name for name, kind in names.items() if kind.reads}
    assert found[2] <= {name for name, kind in names.items() if not (kind.reads or kind.handshake)}


@pytest.mark.parametrize("handshake", HANDSHAKES)
def test_a_debugger_s_beginnings(handshake: bytes) -> None:
    """gdb and LLDB send a '+' first; `set remote interrupt-on-connect` has gdb send a Ctrl-C."""
    for before in (b"", b"+", b"\x03", b"+\x03-"):
        for whole in (True, False):
            target = FakeTarget()
            wire = Wire(target)
            data = before + framed(handshake)
            answers = [wire.receive(piece) for piece in ([data] if whole else [bytes([byte]) for byte in data])][-1]
            assert answers[0] == b"+"
            assert answers[1] != b"$"
            wire.receive(b"+" + framed(b"M40000000,1:ff"))
            assert target.memory[0] == 0xFF
            wire.connection.leave()


@pytest.mark.parametrize("packet", READING)
def test_what_only_asks_is_answered_without_a_handshake(packet: bytes) -> None:
    wire = Wire(FakeTarget())
    for _ in range(2):
        assert wire.receive(b"+" + framed(packet))[0] == b"+"
        assert wire.connection.state is not State.DISCONNECTED
    wire.connection.leave()


@pytest.mark.parametrize("packet", [*CHANGING, b"qUnknown", b"", b"m", b"m40000000,4 / HTTP/1.1\r\n", b"?x"])
@pytest.mark.parametrize("first", [b"", framed(b"qC")], ids=["first", "after a question"])
def test_what_changes_anything_is_not(packet: bytes, first: bytes) -> None:
    target = FakeTarget()
    registers, memory = dict(target.registers), bytes(target.memory)
    wire = Turned(target)
    if first:
        wire.receive(first)
    wire.receive(b"+" + framed(packet))
    assert wire.connection.state is State.DISCONNECTED
    assert (target.registers, bytes(target.memory), target.points) == (registers, memory, set())
    assert target.calls == (["attach", "detach"] if first else [])


@pytest.mark.parametrize("byte", range(256))
def test_bytes_between_packets(byte: int) -> None:
    data = bytes([byte])
    for before in (b"", framed(b"?"), framed(b"qC")):
        wire = Turned(FakeTarget())
        wire.receive(before)
        wire.receive(data)
        assert (wire.connection.state is not State.DISCONNECTED) is (data in PROTOCOL), before
        wire.connection.leave()


BURSTS = [
    framed(b"!") + framed(b"k"),
    framed(b"!") + b"+" + framed(b"k") + b" / HTTP/1.1\r\n",
    framed(b"?") + b"$x / HTTP/1.1\r\nHost: localhost\r\nx-a: ",
    framed(b"qC") * 2,
    framed(b"QStartNoAckMode") + b"\n",
    b"$x / HTTP/1.1\r\nx-a: " + framed(b"?"),  # what was given up has the request line in it
    b"%x / HTTP/1.1\r\nx-a: #00" + framed(b"?"),
    framed(b"x / HTTP/1.1\r\nx-a: "),
    b"$?#00",
    b"+" * 5000 + framed(b"?"),
]


@pytest.mark.parametrize("data", BURSTS, ids=range(len(BURSTS)))
def test_who_does_not_wait_for_a_reply_is_no_debugger(data: bytes) -> None:
    """None of it is acted on, not even what is before the fault: a request comes as a whole."""
    target = FakeTarget()
    wire = Turned(target)
    wire.receive(data)
    assert wire.connection.state is State.DISCONNECTED
    assert target.calls == []


def test_the_same_over_a_socket(server: Server, target: FakeTarget) -> None:
    for data in BURSTS:
        with Client(server.address, handshake=False) as client:
            client.send(data)
            assert b"target remote" in client.rest()
    with Client(server.address) as client:
        client.send(b"\r\n")
        assert client.rest() == b""
    assert target.calls == ["attach", "detach"]


def test_a_packet_in_pieces(server: Server, target: FakeTarget) -> None:
    with Client(server.address, handshake=False) as client:
        for start, end in pairwise([0, 1, 5, 13, 14, 15]):
            client.send((b"+" + framed(b"qSupported"))[start:end])
        assert client.reply().startswith(b"PacketSize")


def test_a_thousand_who_are_silent_keep_nobody_out(server: Server) -> None:
    """Nor those who begin a packet and never end it."""
    host, port = server.address.split(":")
    silent = []
    try:
        for number in range(600):  # and half as many at the server's end of this process, of 1024 files
            silent.append(socket.create_connection((host, int(port)), timeout=PATIENCE))
            silent[-1].sendall(b"$qSupp" if number % 2 else b"")
        with Client(server.address) as client:
            assert client.ask(b"qC") == b"QC1"
    finally:
        for each in silent:
            each.close()
