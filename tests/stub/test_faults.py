# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a client does, the server goes on answering."""

import random

import pytest

from armprobe.stub import Server, Signalled, Stepped, TargetError
from tests.stub.client import RESYNC, Client, framed
from tests.stub.fake import BASE, FakeTarget
from tests.stub.mutation import mutated
from tests.waiting import wait_until


def still_answers(server: Server) -> None:
    with Client(server.address) as client:
        assert client.ask(b"qC") == b"QC1"
        assert client.ask(b"D") == b"OK"


def send_until_hung_up(client: Client, data: bytes) -> None:
    """Send `data` again and again, until the server hangs up."""

    def sent() -> bool:
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return True
        return False

    wait_until(sent, "the server hangs up")


def test_damaged_packets_are_asked_for_again(client: Client) -> None:
    client.send(b"$qC#00")
    assert client.byte() == b"-"
    assert client.ask(b"qC") == b"QC1"


def test_a_reply_is_sent_again_when_asked(client: Client) -> None:
    assert client.ask(b"qC") == b"QC1"
    for _ in range(3):
        client.send(b"-")
        assert client.packet() == b"QC1"


def test_but_not_for_ever(client: Client) -> None:
    assert client.ask(b"qC") == b"QC1"
    client.send(b"-" * 100_000)
    for _ in range(3):
        assert client.packet() == b"QC1"
    assert client.ask(b"qAttached") == b"1"


def test_without_acknowledgments(client: Client) -> None:
    client.start_no_ack()
    client.send(b"-+$qC#00++" + framed(b"qAttached"))
    assert client.packet() == b"1"


def test_a_client_that_never_acknowledges(client: Client) -> None:
    client.send(framed(b"qC") * 1000)
    assert client.byte() == b"+"
    for _ in range(999):
        assert [client.byte() for _ in b"$QC1#c5+"] == [bytes([byte]) for byte in b"$QC1#c5+"]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_an_interrupt_at_every_boundary(client: Client, whole: bool, running: bool) -> None:
    """Across the change to no acknowledgments, too."""
    stream = [b"\x03+\x03", framed(b"qC"), b"\x03", framed(b"QStartNoAckMode"), b"\x03+\x03", framed(b"?"), b"\x03"]
    stream += [framed(b"vCont;c"), b"\x03\x03", framed(b"qAttached"), b"\x03"] if running else [framed(b"qAttached")]
    for piece in [b"".join(stream)] if whole else [bytes([byte]) for byte in b"".join(stream)]:
        client.send(piece)
    client.acknowledges = False
    assert client.byte() == b"+"
    assert client.packet() == b"QC1"
    assert client.byte() == b"+"
    assert client.packet() == b"OK"
    assert client.packet()[:3] == b"T05"
    if running:
        assert client.packet()[:3] == b"T02"
    assert client.packet() == b"1"


@pytest.mark.parametrize("packet", [b"X%x,1:" % BASE + b"x" * 0x20001, b"x" * 1_000_000])
def test_oversized_packets(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b"E01"
    assert client.ask(b"qC") == b"QC1"


def test_the_largest_packet(client: Client, target: FakeTarget) -> None:
    head = b"X%x,%x:" % (BASE, 0x8000)
    assert client.ask(head + b"}\x03" * 0x8000) == b"OK"
    assert target.memory[:0x8000] == b"#" * 0x8000


@pytest.mark.parametrize(
    "last", [b"", b"$", b"$m4000", b"$m40000000,4#", b"$m40000000,4#8", b"\x03", b"-", b"$vCont;c#a8"]
)
def test_a_client_that_vanishes(server: Server, target: FakeTarget, last: bytes) -> None:
    with Client(server.address) as client:
        client.ask(b"?")
        client.send(last)
    still_answers(server)
    assert target.calls == ["attach", "detach"] * 2


def test_a_client_that_vanishes_from_a_long_command(server: Server, target: FakeTarget) -> None:
    with Client(server.address) as client:
        client.ask(b"qRcmd," + b"hang".hex().encode())
    still_answers(server)
    assert target.calls == ["attach", "detach"] * 2


def test_a_client_that_vanishes_before_it_took_control(server: Server, target: FakeTarget) -> None:
    for said in (b"", b"+", b"$qC#00"):
        with Client(server.address, handshake=False) as client:
            client.send(said)
    still_answers(server)
    assert target.calls == ["attach", "detach"]


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n$k#6b", b"\x16\x03\x01"]
)
def test_what_is_no_debugger_is_turned_away(server: Server, target: FakeTarget, said: bytes) -> None:
    """A web page can have a browser post to a local port; what it posts must not reach the machine."""
    with Client(server.address, handshake=False) as client:
        client.send(said)
        assert b"target remote" in client.rest()
    assert target.calls == []
    still_answers(server)


def test_who_is_silent_does_not_keep_others_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armprobe.stub.lobby.SILENCE", 0.2)
    with Client(server.address, handshake=False) as silent, Client(server.address, handshake=False) as dripping:
        silent.send(b"+")
        assert silent.rest() == b""
        send_until_hung_up(dripping, b"$")
    still_answers(server)


def test_who_reads_nothing_does_not_keep_others_out(
    server: Server, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armprobe.stub.transport._SEND", 1)
    with Client(server.address) as client:
        client.ask(b"?")
        client.send(framed(b"m%x,ffff" % BASE) * 200)  # 26 MB of replies
        wait_until(lambda: not target.attached, "the server lets go")
        still_answers(server)


@pytest.mark.parametrize("data", [framed(b"X0,0:" + b"x" * 0x10000), framed(b"") * 10_000])
def test_too_much_while_it_runs(server: Server, data: bytes) -> None:
    with Client(server.address) as client:
        client.send(framed(b"vCont;c"))
        send_until_hung_up(client, data)
    still_answers(server)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("detach", []),
        ("kill", [5]),
        ("read_registers", [0]),
        ("read_memory", [1]),
        ("insert_breakpoint", [2]),
        ("resume", [3]),
    ],
)
@pytest.mark.parametrize(
    "error", [TargetError(5, "it failed"), ZeroDivisionError("a defect")], ids=["refusal", "defect"]
)
def test_a_target_that_fails(
    server: Server,
    target: FakeTarget,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    expected: list[int],
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch, Client(server.address) as client:
        patch.setattr(target, method, fail)
        replies = [client.ask(packet) for packet in (b"g", b"m%x,4" % BASE, b"Z0,1,4", b"vCont;s", b"?", b"vKill;1")]
        client.rest()
        assert [n for n, reply in enumerate(replies) if reply == b"E05"] == expected
    if method == "detach":
        target.attached = False
    still_answers(server)


def test_a_target_that_cannot_be_attached(server: Server, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(client: object) -> None:
        raise TargetError(5, "it failed")

    with monkeypatch.context() as patch, Client(server.address, handshake=False) as client:
        patch.setattr(target, "attach", fail)
        assert client.ask(b"qSupported:swbreak+") == b"E.it failed"
        assert client.rest() == b""
    assert target.calls == []
    still_answers(server)


def test_a_stop_that_comes_twice_or_late(server: Server, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    dones = []
    monkeypatch.setattr(target, "resume", lambda step, range, done: dones.append(done))
    with Client(server.address) as client:
        client.send(framed(b"vCont;c"))
        assert client.byte() == b"+"
        wait_until(lambda: dones, "it is resumed")
        dones[0](Stepped())
        dones[0](Signalled(signal=6))
        assert client.packet()[:3] == b"T05"
        assert client.ask(b"qC") == b"QC1"
        client.send(framed(b"vCont;c"))
        assert client.byte() == b"+"
        dones[0](Signalled(signal=6))
        wait_until(lambda: len(dones) == 2, "it is resumed again")
        dones[1](Signalled(signal=11))
        assert client.packet()[:3] == b"T0b"
        assert client.ask(b"D") == b"OK"
    dones[1](Signalled(signal=6))
    still_answers(server)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_packets(server: Server, target: FakeTarget, seed: int) -> None:
    """The machine must be let go of, and the next client served, whatever was sent before."""
    generator = random.Random(seed)
    for _ in range(20):
        with Client(server.address) as client:
            try:
                client.socket.settimeout(5)  # it may be as if the last of it was never said
                client.send(b"".join(mutated(generator) for _ in range(40)))
                client.send(RESYNC + b"\x03" + framed(b"qC") + framed(b"D"))
                client.rest()
            except OSError:
                pass  # it may be turned away before it has said all
    still_answers(server)
    assert target.calls.count("attach") == target.calls.count("detach")
