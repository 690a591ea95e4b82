# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace experiments by packets; the trace file's frames are read here a second time."""

import struct
from collections.abc import Iterator

import pytest

from armprobe.stub import Server
from tests.stub.client import Client, framed
from tests.stub.fake import BASE, FakeTarget

AT = BASE + 0x10
REGISTERS = 33 * 8 + 4 + 32 * 16 + 8


def run_to(client: Client, address: int) -> None:
    client.ask(b"Z0,%x,4" % address)
    assert b"20:%b" % address.to_bytes(8, "little").hex().encode() in client.ask(b"vCont;c")
    client.ask(b"z0,%x,4" % address)


def status(client: Client) -> dict[str, str]:
    head, *fields = client.ask(b"qTStatus").decode().split(";")
    reason, *others = fields
    return {"running": head, "reason": reason} | dict(field.split(":", 1) for field in others)


def blocks(client: Client) -> Iterator[tuple[int, list[tuple[str, object]]]]:
    """Each frame of qTBuffer: its tracepoint and its blocks."""
    data = b""
    while (piece := client.ask(b"qTBuffer:%x,7d0" % len(data))) != b"l":
        data += bytes.fromhex(piece.decode())
    while data:
        number, size = struct.unpack_from("<HI", data)
        rest, data = data[6 : 6 + size], data[6 + size :]
        found: list[tuple[str, object]] = []
        while rest:
            match rest[:1]:
                case b"R":
                    found.append(("R", rest[1 : 1 + REGISTERS]))
                    rest = rest[1 + REGISTERS :]
                case b"M":
                    address, length = struct.unpack_from("<QH", rest, 1)
                    found.append(("M", (address, rest[11 : 11 + length])))
                    rest = rest[11 + length :]
                case b"V":
                    found.append(("V", struct.unpack_from("<Iq", rest, 1)))
                    rest = rest[13:]
                case other:
                    raise AssertionError(other)
        yield number, found


def test_an_experiment(client: Client, target: FakeTarget) -> None:
    target.memory[0x8000:0x8008] = b"in there"
    assert client.ask(b"QTinit") == b"OK"
    assert client.ask(b"QTDV:5:fffffffffffffffe:0:6e") == b"OK"
    assert client.ask(b"QTDP:1:%x:E:0:0-" % AT) == b"OK"
    assert client.ask(b"QTDP:-1:%x:R03-" % AT) == b"OK"
    assert client.ask(b"QTDP:-1:%x:M-1,%x,8-" % (AT, BASE + 0x8000)) == b"OK"
    assert client.ask(b"QTDP:-1:%x:M20,-4,4X9,2c00052201022d000527-" % AT) == b"E01"  # ten bytes, not nine
    assert client.ask(b"QTDP:-1:%x:M20,-4,4XA,2c00052201022d000527-" % AT) == b"OK"
    assert client.ask(b"QTDP:-1:%x:X4,2e000527" % AT) == b"OK"
    assert client.ask(b"QTStart") == b"OK"
    assert status(client)["running"] == "T1"
    run_to(client, BASE + 0x40)
    client.ask(b"P20=%s" % BASE.to_bytes(8, "little").hex().encode())
    run_to(client, BASE + 0x40)
    assert client.ask(b"qTP:1:%x" % AT) == b"V2:%x" % (2 * (6 + 1 + REGISTERS + 19 + 15 + 13))
    assert client.ask(b"QTStop") == b"OK"
    assert not target.traces
    now = status(client)
    assert (now["running"], now["reason"], now["tframes"], now["tcreated"]) == ("T0", "tstop::0", "2", "2")
    found = list(blocks(client))
    for number, ((tracepoint, parts), variable) in enumerate(zip(found, (-1, 0), strict=True)):
        assert tracepoint == 1, number
        registers = parts[0][1]
        assert isinstance(registers, bytes)
        assert struct.unpack_from("<33Q", registers)[32] == AT
        assert parts[1:] == [
            ("M", (BASE + 0x8000, b"in there")),
            ("M", (AT - 4, target.memory[0xC:0x10])),
            ("V", (5, variable)),
        ]
    assert client.ask(b"qTV:5") == b"V0"
    assert client.ask(b"qTV:6") == b"U"


def test_a_frame_is_looked_at_instead_of_the_machine(client: Client, target: FakeTarget) -> None:
    target.memory[0x8000:0x8008] = b"in there"
    client.ask(b"QTDP:1:%x:E:0:0-" % AT)
    client.ask(b"QTDP:-1:%x:R1M-1,%x,4X4,2e000127" % (AT, BASE + 0x8000))
    client.ask(b"QTDP:2:%x:E:0:0" % (AT + 8))
    client.ask(b"QTro:%x,%x" % (BASE + 0x100, BASE + 0x200))
    client.ask(b"QTStart")
    run_to(client, BASE + 0x40)
    client.ask(b"QTStop")
    live = client.ask(b"g")
    target.memory[0x8000:0x8008] = b"changed!"
    assert client.ask(b"QTFrame:0") == b"F0T1"
    frame = client.ask(b"g")
    assert frame != live
    assert client.ask(b"p20") == AT.to_bytes(8, "little").hex().encode() == frame[512:528]
    assert client.ask(b"m%x,4" % (BASE + 0x8000)) == b"in t".hex().encode()
    assert client.ask(b"x%x,4" % (BASE + 0x8000)) == b"bin t"
    assert client.ask(b"m%x,8" % (BASE + 0x8000)) == b"in t".hex().encode()
    assert client.ask(b"m%x,4" % (BASE + 0x8004)) == b"E0e"
    assert client.ask(b"m%x,4" % (BASE + 0x100)) == b"1f2003d5"
    assert client.ask(b"qTV:1") == b"V%x" % (AT - BASE)
    assert client.ask(b"p44") == b"x" * 16  # a system register
    for change in (b"P0=0000000000000000", b"G" + live, b"M%x,1:00" % BASE, b"X%x,1:a" % BASE):
        assert client.ask(change) == b"E1e"
    described = client.ask(b"qXfer:traceframe-info:read::0,1000")
    assert b'<memory start="%#x" length="0x4"/>' % (BASE + 0x8000) in described
    assert b'<tvar id="0x1"/>' in described
    assert client.ask(b"QTFrame:1") == b"F1T2"
    assert client.ask(b"p20") == (AT + 8).to_bytes(8, "little").hex().encode()
    assert set(client.ask(b"p0")) == set(b"x")
    assert client.ask(b"QTFrame:2") == b"F-1"
    assert client.ask(b"QTFrame:ffffffff") == b"OK"
    assert client.ask(b"g") == live
    assert client.ask(b"qXfer:traceframe-info:read::0,1000") == b"E01"
    assert client.ask(b"QTFrame:tdp:2") == b"F1T2"
    assert client.ask(b"QTFrame:pc:%x" % AT) == b"F-1"
    assert client.ask(b"QTFrame:-1") == b"OK"
    assert client.ask(b"QTFrame:pc:%x" % AT) == b"F0T1"
    assert client.ask(b"QTFrame:outside:%x:%x" % (AT - 4, AT + 4)) == b"F1T2"
    client.ask(b"QTFrame:-1")
    assert client.ask(b"QTFrame:range:%x:%x" % (AT + 4, AT + 8)) == b"F1T2"


def test_conditions_steps_and_passes(client: Client, target: FakeTarget) -> None:
    """pc == AT never holds for the second; the first is followed by three steps, and ends it at its second hit."""
    client.ask(b"QTDP:1:%x:E:3:2-" % AT)
    client.ask(b"QTDP:-1:%x:R1-" % AT)
    client.ask(b"QTDP:-1:%x:SR1" % AT)
    client.ask(b"QTDP:2:%x:E:0:0:X3,220027" % (AT + 4))
    client.ask(b"QTDP:3:%x:D:0:0" % (AT + 8))
    client.ask(b"QTStart")
    run_to(client, BASE + 0x40)
    places = [(number, struct.unpack_from("<33Q", parts[0][1])[32]) for number, parts in blocks(client)]  # type: ignore[arg-type]
    assert places == [(1, AT), (1, AT + 4), (1, AT + 8), (1, AT + 12)]
    client.ask(b"P20=%s" % BASE.to_bytes(8, "little").hex().encode())
    run_to(client, BASE + 0x40)
    assert status(client)["reason"] == "tpasscount:1"
    assert len(list(blocks(client))) == 5


def test_what_was_defined_is_told(client: Client) -> None:
    packets = [
        b"T1:%x:E:2:3:F4:X3,220127" % AT,
        b"A1:%x:R03" % AT,
        b"S1:%x:M-1,40000000,4" % AT,
        b"S1:%x:X4,2e000127" % AT,
        b"Z1:%x:at:0:5:2a6b6d61" % AT,
        b"T2:%x:D:0:0" % AT,
    ]
    client.ask(b"QTinit")
    client.ask(b"QTDP:1:%x:E:2:3:F4:X3,220127-" % AT)
    client.ask(b"QTDP:-1:%x:R03-" % AT)
    client.ask(b"QTDP:-1:%x:SM-1,40000000,4-" % AT)
    client.ask(b"QTDP:-1:%x:X4,2e000127" % AT)
    client.ask(b"QTDPsrc:1:%x:at:0:5:2a6b6d61" % AT)
    client.ask(b"QTDP:2:%x:D:0:0" % AT)
    client.ask(b"QTDV:7:3:0:6e616d65")
    assert [client.ask(b"qTfP"), *(client.ask(b"qTsP") for _ in packets)] == [*packets, b"l"]
    assert client.ask(b"qTsP") == b"l"
    assert client.ask(b"qTfV") == b"1:0:1:" + b"trace_timestamp".hex().encode()
    assert client.ask(b"qTsV") == b"7:3:0:6e616d65"
    assert client.ask(b"qTsV") == b"l"


@pytest.mark.parametrize("circular", [False, True])
def test_a_buffer_that_is_full(client: Client, circular: bool) -> None:
    client.ask(b"QTBuffer:size:%x" % 20)
    client.ask(b"QTBuffer:circular:%d" % circular)
    for number in range(1, 6):  # six bytes a frame with nothing in it
        client.ask(b"QTDP:%x:%x:E:0:0" % (number, BASE + 4 * number))
    client.ask(b"QTStart")
    run_to(client, BASE + 0x40)
    now = status(client)
    assert [number for number, _ in blocks(client)] == ([3, 4, 5] if circular else [1, 2, 3])
    assert (now["tcreated"], now["tframes"]) == ("5" if circular else "3", "3")
    assert now["reason"].startswith("tunknown" if circular else "tfull")
    client.ask(b"qSupported:error-message+")
    answer = client.ask(b"QTBuffer:size:1")
    assert answer.startswith(b"E.the buffer has ") if circular else answer == b"OK"  # what has ended keeps its frames
    assert (len(list(blocks(client))), status(client)["tfree"]) == (3, "2" if circular else "0")


def test_what_goes_wrong_is_said_to_clients_that_know_no_messages(client: Client) -> None:
    """gdb before 16 shows what comes as console text, and of the reply the number, unless it begins with 1 or 2."""
    assert client.ask(b"QTDP:2:0:E:0:0") == b"OK"
    assert client.ask(b"QTStart") == b"O" + b"there is no memory at 0x0\n".hex().encode()
    assert client.packet() == b"E01"
    assert client.ask(b"qTP:9:0") == b"E02"


def test_what_goes_wrong(client: Client, target: FakeTarget) -> None:
    client.ask(b"qSupported:error-message+")
    client.ask(b"QTDP:1:%x:E:0:0-" % AT)
    client.ask(b"QTDP:-1:%x:X4,2200190027" % AT)
    assert client.ask(b"QTDP:-1:%x:X4,22001927" % AT) == b"OK"
    client.ask(b"QTStart")
    run_to(client, BASE + 0x40)
    text = b"action: there is no memory at 0x0".hex()
    assert status(client)["reason"] == f"terror:{text}:1"
    assert client.ask(b"QTDP:2:0:E:0:0") == b"OK"
    assert client.ask(b"QTStart") == b"E.there is no memory at 0x0"
    assert not target.traces
    assert client.ask(b"QTEnable:9:0") == b"E.there is no tracepoint 9 at 0x0"


@pytest.mark.parametrize(
    "packet",
    b"QTDP QTDP:1 QTDP:1:10 QTDP:1:10:E QTDP:1:10:E:0 QTDP:1:10:X:0:0 QTDP:1:10:E:0:0:Y QTDP:1:10:E:0:0:X1,00 "
    b"QTDP:-1:40000010:Z QTDP:-1:40000010:M QTDP:-1:40000010:R QTDP:-1:40000010:X2,27 QTDP:1:10:E:fffff:0 QTDPsrc:1 "
    b"QTDPsrc:1:40000010:at:0:1:z QTDV:1 QTDV:1:x:0:61 QTro:1 QTFrame QTFrame:x QTFrame:pc QTFrame:range:1 "
    b"QTBuffer:x:1 QTBuffer:size:ffffffffff QTBuffer:circular:2 QTNotes:x:61 QTNotes:user:6 QTDisconnected:2 "
    b"qTBuffer:0 qTP qTV".split(),
)
def test_malformed(client: Client, packet: bytes) -> None:
    client.ask(b"QTDP:1:%x:E:0:0" % AT)
    assert client.ask(packet) == b"E01"


def test_an_experiment_that_outlasts_its_client(server: Server, target: FakeTarget) -> None:
    for outlasts in (b"1", b"0"):
        with Client(server.address) as client:
            client.ask(b"QTinit")
            client.ask(b"QTDisconnected:" + outlasts)
            client.ask(b"QTDP:1:%x:E:0:0" % AT)
            client.ask(b"QTStart")
        with Client(server.address) as client:
            now = status(client)
            assert now["running"] == "T" + outlasts.decode()
            assert bool(target.traces) == (outlasts == b"1")
            client.ask(b"QTStop")
    assert now["reason"] == "tdisconnected:0"


def test_resuming_ends_the_looking(client: Client) -> None:
    client.ask(b"QTDP:1:%x:E:0:0" % AT)
    client.ask(b"QTStart")
    run_to(client, BASE + 0x40)
    client.ask(b"QTStop")
    client.ask(b"QTFrame:0")
    client.send(framed(b"vCont;s"))
    client.byte()
    assert b"20:44000040" in client.packet()
    assert set(client.ask(b"p0")) != set(b"x")
