# SPDX-License-Identifier: GPL-2.0-or-later
"""Z0 and Z1 with conditions and commands."""

import pytest

from armprobe.stub import BreakKind, Server
from tests.stub.client import Client, framed, pc
from tests.stub.fake import BASE, FakeTarget
from tests.waiting import wait_until  # tests have no import name to go by

PC_IS = "260020 24%08x 13 27"  # reg 32, const32, equal, end


def field(code: str) -> bytes:
    data = bytes.fromhex(code)
    return b"X%x,%s" % (len(data), data.hex().encode())


TRUE, FALSE = field("2201 27"), field("2200 27")
SAY = field("2200 2200 34 00 0004 68690a00 27".replace("0004 68690a00", "0005 68695c6e00"))


def test_conditions(client: Client) -> None:
    """Any of several is enough."""
    assert client.ask(b"Z0,%x,4;%b" % (BASE + 0x10, FALSE)) == b"OK"
    assert client.ask(b"Z0,%x,4;%b%b" % (BASE + 0x20, FALSE, TRUE)) == b"OK"
    assert client.ask(b"Z0,%x,4" % (BASE + 0x30)) == b"OK"
    assert pc(client.ask(b"vCont;c")) == BASE + 0x20
    assert pc(client.ask(b"vCont;c")) == BASE + 0x30


@pytest.mark.parametrize("kind", [0, 1])
def test_new_conditions_replace_the_old(client: Client, target: FakeTarget, kind: int) -> None:
    point = b"Z%d,%x,4" % (kind, BASE + 0x10)
    for options in (FALSE, TRUE, FALSE, b""):
        assert client.ask(b"%b;%b" % (point, options) if options else point) == b"OK"
        assert target.points == {(BreakKind(kind), BASE + 0x10, 4)}
        client.ask(b"Z0,%x,4" % (BASE + 0x20))
        client.ask(b"P20=%s" % BASE.to_bytes(8, "little").hex().encode())
        assert pc(client.ask(b"vCont;c")) == BASE + (0x20 if options == FALSE else 0x10)
        client.ask(b"z0,%x,4" % (BASE + 0x20))
    assert client.ask(point.replace(b"Z", b"z", 1)) == b"OK"
    assert not target.points


def test_commands(client: Client, target: FakeTarget) -> None:
    """They are done instead of stopping, where the condition holds."""
    client.ask(b"Z0,%x,4;%bcmds:0,%b" % (BASE + 0x10, TRUE, SAY))
    client.ask(b"Z0,%x,4;%b;cmds:0,%b%b" % (BASE + 0x20, FALSE, SAY, SAY))
    client.ask(b"Z0,%x,4;cmds:0,%b" % (BASE + 0x30, SAY))
    client.ask(b"Z0,%x,4" % (BASE + 0x40))
    client.send(framed(b"vCont;c"))
    assert client.byte() == b"+"
    said = b""
    while (reply := client.packet())[:1] == b"O":
        said += bytes.fromhex(reply[1:].decode())
    assert said == b"hi\nhi\n"
    assert pc(reply) == BASE + 0x40
    assert target.shown == ""


def test_commands_that_stay(server: Server, target: FakeTarget) -> None:
    with Client(server.address) as client:
        client.ask(b"Z0,%x,4;cmds:1,%b" % (BASE + 0x30, SAY))
        client.ask(b"Z0,%x,4;cmds:0,%b" % (BASE + 0x40, SAY))
    with Client(server.address) as client:
        client.ask(b"?")
        assert {address for _, address, _ in target.points} == {BASE + 0x30}
        client.ask(b"Z0,%x,4" % (BASE + 0x50))
        assert pc(client.ask(b"vCont;c")) == BASE + 0x50
    assert target.shown == "hi\n"


def test_what_cannot_be_evaluated_is_told(client: Client) -> None:
    client.ask(b"Z0,%x,4;%b" % (BASE + 0x10, field("2200 19 27")))
    said = bytes.fromhex(client.ask(b"vCont;c")[1:].decode()).decode()
    assert (
        said == f"the condition of the breakpoint at {BASE + 0x10:#x} cannot be evaluated: there is no memory at 0x0\n"
    )
    assert pc(client.packet()) == BASE + 0x10


@pytest.mark.parametrize(
    "options",
    [
        b"X",
        b"X1",
        b"X2,27",
        b"X1,2",
        b"X1,zz",
        b"X1,00",
        b"Y1,27",
        b"cmds:",
        b"cmds:2,X1,27",
        b"X1,27cmds:0,X1",
        b"X0,x",
    ],
)
def test_malformed(client: Client, target: FakeTarget, options: bytes) -> None:
    reply = client.ask(b"Z0,%x,4;%b" % (BASE + 0x10, options))
    assert reply in (b"E01", b"OK")
    assert (reply == b"OK") == (options == b"cmds:")
    client.ask(b"qSupported:error-message+")
    assert client.ask(b"Z2,%x,4;%b" % (BASE + 0x10, TRUE)) == (
        b"E.malformed packet: a watchpoint takes neither conditions nor commands"
    )


@pytest.mark.parametrize("last", [b"D", b"k", b"vKill;1", b""])
def test_more_output_than_the_client_reads(
    server: Server, target: FakeTarget, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """What prints waits for the client; when that leaves nobody waits, and the next one is served."""
    monkeypatch.setattr("armprobe.stub.output._HELD", 1000)
    long = (b"x" * 500 + b"\0").hex()
    say = field(f"2200 2200 34 00 01f5 {long} 27")
    with Client(server.address) as client:
        for number in range(1, 200):
            client.ask(b"Z0,%x,4;cmds:0,%b" % (BASE + 4 * number, say))
        client.send(framed(b"vCont;c"))
        wait_until(lambda: target.registers["pc"] > BASE + 80, "it prints")
        if last:
            client.send(framed(last))
            client.rest()
    with Client(server.address) as client:
        assert client.ask(b"qC") == b"QC1"
