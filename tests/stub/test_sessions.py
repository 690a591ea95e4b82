# SPDX-License-Identifier: GPL-2.0-or-later
"""How sessions begin and end: qSupported, threads, monitor, the proxy's packets, detach, kill."""

import json

import pytest

from armprobe.stub import Server
from tests.stub.client import Client
from tests.stub.fake import FakeTarget


def test_what_is_advertised_is_there(client: Client) -> None:
    words = set(client.ask(b"qSupported:xmlRegisters=i386").decode().split(";"))
    assert words == {
        "PacketSize=20000",
        "QStartNoAckMode+",
        "BreakpointCommands+",
        "ConditionalBreakpoints+",
        "ConditionalTracepoints+",
        "DisconnectedTracing+",
        "EnableDisableTracepoints+",
        "FastTracepoints+",
        "InstallInTrace+",
        "QTBuffer:size+",
        "TracepointSource+",
        "tracenz+",
        "qXfer:traceframe-info:read+",
        "binary-upload+",
        "ReverseContinue+",
        "ReverseStep+",
        "hwbreak+",
        "multiprocess+",
        "qXfer:features:read+",
        "qXfer:memory-map:read+",
        "qXfer:threads:read+",
        "swbreak+",
        "vContSupported+",
    }
    for packet in (
        b"qXfer:features:read:target.xml:0,1",
        b"qXfer:memory-map:read::0,1",
        b"qXfer:threads:read::0,1",
        b"x0,0",
        b"vCont?",
    ):
        assert client.ask(packet)
    assert client.ask(b"QStartNoAckMode") == b"OK"


@pytest.mark.parametrize(
    "packet",
    [
        *b"vMustReplyEmpty qOffsets qSymbol:: qTfSTM qSearch:x:0 vCtrlC QNonStop:1 QTSave:00".split(),
        *b"qXfer:exec-file:read::0,100 vFile:open:00 v q vContx qRcmdx,00 QStartNoAckModes qC1".split(),
        b"",
        b"\x00",
        b"\xff\xfe",
    ],
)
def test_what_is_absent_is_answered_empty(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b""


def test_one_thread(client: Client) -> None:
    assert client.ask(b"qC") == b"QC1"
    assert client.ask(b"qfThreadInfo") == b"m1"
    assert client.ask(b"qsThreadInfo") == b"l"
    assert bytes.fromhex(client.ask(b"qThreadExtraInfo,1").decode()) == b"CPU 0"
    listed = client.ask(b"qXfer:threads:read::0,1000")
    assert b'<thread id="1"' in listed
    assert client.ask(b"qXfer:threads:read:x:0,1000") == b"E01"
    for selects in (b"Hg0", b"Hg1", b"Hg-1", b"Hc-1", b"Hc0", b"T1"):
        assert client.ask(selects) == b"OK"
    for unknown in (b"Hg2", b"T2", b"qThreadExtraInfo,2"):
        assert client.ask(unknown) == b"E03"
    for malformed in (b"H", b"Hg", b"Hx1", b"T", b"Tx", b"Hgp", b"Hgp1.", b"Hgp1.x"):
        assert client.ask(malformed) == b"E01"


def test_one_process(client: Client) -> None:
    """For clients that number processes: gdb 13 aborts at `record full` where there is no number."""
    client.ask(b"qSupported:multiprocess+;swbreak+")
    assert client.ask(b"qC") == b"QCp1.1"
    assert client.ask(b"qfThreadInfo") == b"mp1.1"
    assert b'<thread id="p1.1"' in client.ask(b"qXfer:threads:read::0,1000")
    assert b"thread:p1.1;" in client.ask(b"?")
    assert b"thread:p1.1;" in client.ask(b"vCont;s:p1.1;c:p1.-1")
    for selects in (b"Hgp1.1", b"Hcp1.-1", b"Hgp0.0", b"Hcp-1.-1", b"Tp1.1", b"Hgp1"):
        assert client.ask(selects) == b"OK"
    for unknown in (b"Hgp2.1", b"Tp1.2", b"qThreadExtraInfo,p1.2"):
        assert client.ask(unknown) == b"E03"
    assert client.ask(b"!") == b"OK"
    assert client.ask(b"D;1") == b"OK"
    assert client.ask(b"?") == b"W00;process:1"


def test_errors_are_sentences_for_those_who_read_them(client: Client) -> None:
    assert client.ask(b"m0,4") == b"E0e"
    client.ask(b"qSupported:error-message+;swbreak+")
    assert client.ask(b"m0,4") == b"E.there is no memory at 0x0"
    assert client.ask(b"m$0,4".replace(b"$", b"}\x04")) == b"E.malformed packet: '0' is not a hexadecimal number"


def monitor(client: Client, line: str) -> tuple[str, bytes]:
    """What the command said, and the final reply."""
    said = ""
    reply = client.ask(b"qRcmd," + line.encode().hex().encode())
    while reply[:1] == b"O" and reply != b"OK":
        said += bytes.fromhex(reply[1:].decode()).decode()
        reply = client.packet()
    return said, reply


def test_monitor(client: Client) -> None:
    assert monitor(client, "echo hällo") == ("hällo\n", b"OK")
    assert monitor(client, "lines 100") == ("".join(f"line {n}\n" for n in range(100)), b"OK")
    assert monitor(client, "what") == ("'what' is no command\n", b"OK")
    assert monitor(client, "refuse") == ("no: refused\n", b"OK")
    assert monitor(client, "break") == ("", b"E05")
    assert monitor(client, "") == ("'' is no command\n", b"OK")


@pytest.mark.parametrize("packet", [b"qRcmd,0", b"qRcmd,zz", b"qArmprobe.run:0", b"qArmprobe.commands:1"])
def test_malformed_commands(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b"E01"


def test_output_larger_than_a_packet_is_divided(client: Client) -> None:
    said, reply = monitor(client, "echo " + "x" * 60_000)
    assert (said, reply) == ("x" * 60_000 + "\n", b"OK")


def test_a_command_can_be_interrupted(client: Client) -> None:
    assert client.ask(b"qRcmd," + b"hang".hex().encode()) == b"O" + b"hanging\n".hex().encode()
    client.send(b"\x03")
    assert client.packet() == b"O" + b"interrupted".hex().encode()
    assert client.packet() == b"O" + b"\n".hex().encode()
    assert client.packet() == b"OK"


def proxy(client: Client, packet: bytes) -> tuple[bytes, str]:
    reply = client.ask(packet)
    return reply[:1], bytes.fromhex(reply[1:].decode()).decode()


def test_proxy(client: Client) -> None:
    status, table = proxy(client, b"qArmprobe.commands")
    assert status == b"1"
    assert json.loads(table)[0]["name"] == "echo"
    run = b"qArmprobe.run:%b"
    assert proxy(client, run % b"echo a b".hex().encode()) == (b"1", "a b\n")
    assert proxy(client, run % b"what".hex().encode()) == (b"0", "'what' is no command")
    assert proxy(client, run % b"refuse".hex().encode()) == (b"0", "no: refused")
    assert proxy(client, b"qArmprobe.complete:%b" % b"l".hex().encode()) == (b"1", "lines")
    assert proxy(client, b"qArmprobe.complete:") == (b"1", "echo\nlines\nhang")


def test_a_command_of_the_proxys_that_takes_long(client: Client) -> None:
    """gdb is answered before it takes the reply for lost, asks again, and can interrupt it."""
    assert client.ask(b"qArmprobe.wait") == b"E0a"
    assert client.ask(b"qArmprobe.run:%b" % b"hang".hex().encode()) == b"2"
    assert client.ask(b"qArmprobe.wait") == b"2"
    assert proxy(client, b"qArmprobe.interrupt") == (b"1", "hanging\ninterrupted")
    assert proxy(client, b"qArmprobe.wait") == (b"1", "hanging\ninterrupted")


def test_attached_and_not_started(client: Client) -> None:
    """Else GDB kills on exit."""
    assert client.ask(b"qAttached") == b"1"
    assert client.ask(b"qAttached:1") == b"1"


def test_detach_and_attach_again(server: Server, target: FakeTarget) -> None:
    for _ in range(5):
        with Client(server.address) as client:
            client.ask(b"Z0,40000040,4")
            assert client.ask(b"D") == b"OK"
            assert not target.points
            assert client.rest() == b""
    assert target.calls == ["attach", "detach"] * 5


def test_kill(server: Server, target: FakeTarget) -> None:
    with Client(server.address) as client:
        client.ask(b"vCont;s")
        client.send(b"$k#6b")
        assert client.rest() == b"+$X09#c1"
    with Client(server.address) as client:
        assert client.ask(b"p20") == b"0000004000000000"
        assert client.ask(b"vKill;1") == b"OK"
    assert target.calls == ["attach", "kill", "detach"] * 2
