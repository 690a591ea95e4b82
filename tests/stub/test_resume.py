# SPDX-License-Identifier: GPL-2.0-or-later
"""?, vCont, c, C, s, S, Z, z, the interrupt, and what the replies say of a stop."""

import json
import re

import pytest

from armprobe.stub import ProbeHit, Server
from tests.stub.client import Client, framed
from tests.stub.fake import BASE, FakeTarget

# x29, sp, pc, cpsr, x0, x30 of the fake at BASE, by their numbers in target.xml.
EXPEDITED = (
    b"1d:0000000000000000;1f:0000014000000000;20:0000004000000000;21:c5030000;0:0010000000000000;1e:0000000000000000;"
)


def pc(reply: bytes) -> int:
    """The expedited pc."""
    found = re.search(rb";20:([0-9a-f]{16});", reply)
    assert found
    return int.from_bytes(bytes.fromhex(found[1].decode()), "little")


def test_why_it_stopped(client: Client) -> None:
    """Without registers: gdb is to ask for those by g, and learn how large it is."""
    assert client.ask(b"?") == b"T05thread:1;"
    assert client.ask(b"?") == b"T05thread:1;"


def test_what_vcont_can(client: Client) -> None:
    """Without both C and S GDB falls back to packets older than vCont."""
    assert client.ask(b"vCont?") == b"vCont;c;C;s;S;r"


@pytest.mark.parametrize(
    "packet",
    [b"vCont;s", b"vCont;s:1", b"vCont;s:1;c", b"vCont;s:-1", b"vCont;S05:1;c", b"vCont;c:2;s:1", b"s", b"S05"],
)
def test_step(client: Client, packet: bytes) -> None:
    reply = client.ask(packet)
    assert reply[:3] == b"T05"
    assert pc(reply) == BASE + 4


@pytest.mark.parametrize("packet", [b"vCont;c", b"vCont;c:1", b"vCont;C0b:1", b"vCont;s:2;c", b"c", b"C05"])
def test_continue_to_a_breakpoint(client: Client, packet: bytes) -> None:
    assert client.ask(b"Z0,%x,4" % (BASE + 0x40)) == b"OK"
    reply = client.ask(packet)
    assert reply[:3] == b"T05"
    assert pc(reply) == BASE + 0x40


@pytest.mark.parametrize("packet", [b"s%x", b"S05;%x", b"c%x", b"C05;%x"])
def test_resume_elsewhere(client: Client, packet: bytes) -> None:
    client.ask(b"Z1,%x,4" % (BASE + 0x104))
    assert pc(client.ask(packet % (BASE + 0x100))) == BASE + 0x104


def test_range_step(client: Client) -> None:
    """One resume for all the instructions of a line."""
    assert pc(client.ask(b"vCont;r%x,%x:1;c" % (BASE, BASE + 0x20))) == BASE + 0x20
    assert pc(client.ask(b"vCont;r%x,%x:1;c" % (BASE, BASE + 0x20))) == BASE + 0x24


@pytest.mark.parametrize(
    "packet",
    [
        *b"vCont vCont; vCont;x vCont;t vCont;c:2 vCont;c1 vCont;C vCont;C100 vCont;S0g vCont;r1 vCont;r1,".split(),
        *b"vCont;r vCont;c: vCont;c:x vCont;c:1;q sx S cg C;1".split(),
    ],
)
def test_malformed_resumptions_leave_it_stopped(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b"E01"
    assert client.ask(b"p20") == BASE.to_bytes(8, "little").hex().encode()


@pytest.mark.parametrize(("letter", "word"), [(b"0", b"swbreak"), (b"1", b"hwbreak")])
def test_break_reasons_are_for_those_who_know_them(client: Client, letter: bytes, word: bytes) -> None:
    client.ask(b"Z%b,%x,4" % (letter, BASE + 8))
    assert word not in client.ask(b"vCont;c")
    client.ask(b"P20=" + BASE.to_bytes(8, "little").hex().encode())
    client.ask(b"qSupported:%b+" % word)
    reply = client.ask(b"vCont;c")
    assert reply.endswith(b"thread:1;" + word + b":;")
    assert client.ask(b"?") == b"T05thread:1;" + word + b":;"


@pytest.mark.parametrize(("letter", "word"), [(b"2", b"watch"), (b"4", b"awatch")])
def test_watch_reasons(client: Client, target: FakeTarget, letter: bytes, word: bytes) -> None:
    data = BASE + 0x8000
    target.stores[BASE + 0x10] = data
    assert client.ask(b"Z%b,%x,8" % (letter, data)) == b"OK"
    reply = client.ask(b"vCont;c")
    assert reply.endswith(b"thread:1;%b:%x;" % (word, data))
    assert pc(reply) == BASE + 0x10


def test_read_watch_reason(client: Client, target: FakeTarget) -> None:
    data = BASE + 0x8000
    target.loads[BASE + 0x10] = data
    assert client.ask(b"Z3,%x,8" % data) == b"OK"
    assert client.ask(b"vCont;c").endswith(b"thread:1;rwatch:%x;" % data)


def test_breakpoint_packets_are_idempotent(client: Client, target: FakeTarget) -> None:
    """GDB manual, "Packets"; the fake raises where it is told something twice."""
    for _ in range(2):
        assert client.ask(b"Z0,%x,4" % BASE) == b"OK"
        assert len(target.points) == 1
    for _ in range(2):
        assert client.ask(b"z0,%x,4" % BASE) == b"OK"
        assert not target.points


def test_a_refused_breakpoint_is_not_there(client: Client, target: FakeTarget) -> None:
    for _ in range(2):
        assert client.ask(b"Z2,%x,10" % BASE) == b"E16"  # EINVAL
    assert client.ask(b"z2,%x,10" % BASE) == b"OK"
    assert not target.points


@pytest.mark.parametrize("packet", [b"Z0", b"Z0,", b"Z0,1", b"Z0,1,", b"Z0,x,4", b"Z0,1,4;X1,00", b"z0", b"z4,1"])
def test_malformed_breakpoints(client: Client, target: FakeTarget, packet: bytes) -> None:
    assert client.ask(packet) == b"E01"
    assert not target.points


@pytest.mark.parametrize("packet", [b"Z5,1,4", b"Z", b"z9", b"Z\xff"])
def test_unknown_breakpoints(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b""


def test_interrupt(client: Client) -> None:
    client.send(framed(b"vCont;c") + b"\x03")
    assert client.reply()[:3] == b"T02"


def test_text_of_a_stop_comes_just_before_it(client: Client, target: FakeTarget) -> None:
    target.text = "kprobe f: stage pre"
    client.send(framed(b"vCont;s"))
    assert client.reply() == b"O" + b"kprobe f: stage pre\n".hex().encode()
    assert client.packet()[:3] == b"T05"
    assert client.ask(b"?")[:3] == b"T05"  # nobody waits: no text


def test_the_hit_of_a_probe(server: Server, target: FakeTarget) -> None:
    """LLDB reads its reason from the reply; the program inside gdb asks for the whole of it."""
    said = "kprobe f+0x4: stage pre, hit 3"
    target.stop = ProbeHit(text=said, kind="kprobe", name="f+0x4", function="f", stage="pre", hit=3)
    with Client(server.address) as client:
        assert client.ask(b"?").endswith(b"thread:1;description:%b;" % said.encode().hex().encode())
        place = {"position": 0}
        expected = {**place, "kind": "kprobe", "name": "f+0x4", "function": "f", "stage": "pre", "hit": 3}
        reply = client.ask(b"qArmprobe.stop")
        assert (reply[:1], json.loads(bytes.fromhex(reply[1:].decode()))) == (b"1", expected)
        client.ask(b"vCont;s")
        assert json.loads(bytes.fromhex(client.ask(b"qArmprobe.stop")[1:].decode())) == place


def test_power_off(client: Client, target: FakeTarget) -> None:
    target.powers_off_at = BASE + 0x20
    assert client.ask(b"vCont;c") == b"W00"
    assert client.ask(b"?") == b"W00"


def test_packets_sent_while_it_runs_wait(client: Client) -> None:
    client.send(framed(b"vCont;c") + framed(b"qC") + framed(b"vCont;s") + framed(b"qAttached"))
    for _ in range(3):
        assert client.byte() == b"+"
    client.send(b"\x03")
    assert client.reply()[:3] == b"T02"
    assert client.packet() == b"QC1"
    assert client.packet()[:3] == b"T05"
    assert client.packet() == b"1"


def test_detach_need_not_wait(client: Client, target: FakeTarget) -> None:
    client.send(framed(b"vCont;c"))
    assert client.byte() == b"+"
    assert client.ask(b"D") == b"OK"
    assert target.calls == ["attach", "detach"]
