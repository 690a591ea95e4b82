# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile and broken clients of a server that has the demo kernel: nobody else waits for them, and nothing is lost."""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from armprobe.commands import Session
from armprobe.stub import Server, serve
from tests.stub.client import Client, framed
from tests.waiting import PATIENCE, going_on, wait_until

pytestmark = pytest.mark.sample(of="files")

_SOON = 3.0  # seconds of this process's CPU time, within which nobody has to wait; it takes milliseconds


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.run("continue until=workload_round")
        yield session


@pytest.fixture
def server(session: Session) -> Iterator[Server]:
    with serve(session, "127.0.0.1:0") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        assert client.ask(b"qSupported:swbreak+;hwbreak+;error-message+")
        client.start_no_ack()
        yield client


def stop_reply(client: Client) -> bytes:
    """The next reply that is not text for the console."""
    while (reply := client.reply())[:1] == b"O" and reply != b"OK":
        pass
    return reply


def place(session: Session, name: str) -> int:
    return session.machine.symbols[name].address


def with_expression(code: bytes) -> bytes:
    return b"X%x,%b" % (len(code), code.hex().encode())


def slowest(session: Session, times: int, clock: Callable[[], float] = time.process_time) -> float:
    """The longest that someone at the prompt, who asks so many times, waits for an answer meanwhile."""
    longest = 0.0
    for _ in range(times):
        began = clock()
        session.run("examine $sp 16")
        longest = max(longest, clock() - began)
    return longest


def busy(session: Session, client: Client | None = None) -> None:
    """Wait until the guest runs, is about to run for a command, or has run and `client` is answered."""
    owner = session.owner
    wait_until(
        lambda: owner.running or owner._interruptible or (client is not None and answered(client)), "the guest runs"
    )


def answered(client: Client) -> bool:
    """Whether something of the stub's can be read."""
    return bool(select.select([client.socket], [], [], 0)[0])


# 9000 times round a loop, and then no: const16 9000; const8 1, sub, dup, if_goto 3; const8 0, end
SLOW = bytes.fromhex("23232822010328200003220027")


def test_slow_conditions(session: Session, client: Client) -> None:
    """Where the guest comes by every hundred instructions: a slice of the run then takes seconds."""
    assert client.ask(b"Z0,%x,4;%b" % (place(session, "cmp_u32"), with_expression(SLOW))) == b"OK"
    client.send(framed(b"vCont;c"))
    going_on(session)
    assert slowest(session, 10) < _SOON
    began = time.process_time()
    client.send(b"\x03")
    assert client.reply()[:3] == b"T02"
    assert time.process_time() - began < _SOON


def test_a_condition_without_end(session: Session, client: Client) -> None:
    """It is an error, and stops the guest: a user who cannot be told otherwise is at least not misled."""
    forever = bytes.fromhex("2201210000")  # const8 1, goto 0
    assert client.ask(b"Z0,%x,4;%b" % (place(session, "cmp_u32"), with_expression(forever))) == b"OK"
    client.send(framed(b"vCont;c"))
    said = client.reply()
    assert b"does not end within" in bytes.fromhex(said[1:].decode())
    assert client.reply()[:3] == b"T05"


def test_thousands_of_breakpoints(session: Session, server: Server, client: Client) -> None:
    text = place(session, "_stext")
    for n in range(4000):
        assert client.ask(b"Z0,%x,4" % (text + 4 * n)) == b"OK"
    assert b"swbreak" in client.ask(b"vCont;c")
    client.socket.close()
    began = time.process_time()
    while True:
        with Client(server.address, handshake=False) as other:  # it is turned away at first
            if other.ask(b"?")[:1] == b"T":
                break
        assert time.process_time() - began < _SOON
    assert not list(session.debug_target.breakpoints)


def test_watching_much(session: Session, client: Client) -> None:
    """Beside what the guest uses most: each access to it has to be looked at, for each watchpoint."""
    first_failure = place(session, "workload") + 32
    places = [(kind, at, size) for kind in b"234" for at in range(8) for size in range(1, 9 - at)]
    for kind, at, size in places[:100]:
        assert client.ask(b"Z%c,%x,%x" % (kind, first_failure + at, size)) == b"OK"
    assert client.ask(b"Z%c,%x,%x" % (places[100][0], first_failure + places[100][1], 8)).startswith(b"E.")
    client.send(framed(b"vCont;c"))
    going_on(session)
    assert slowest(session, 10) < _SOON
    client.send(b"\x03")
    assert client.reply()[:3] == b"T02"


def test_printing_at_a_client_that_does_not_read(session: Session, client: Client) -> None:
    """A dprintf in a place of many hits, and more to print than sockets hold."""
    text = b"%d " + b"x" * 900 + b"\\n\0"
    printf = bytes((0x22, 5, 0x22, 0, 0x22, 0, 0x34, 1)) + len(text).to_bytes(2, "big") + text + b"\x27"
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert client.ask(b"Z0,%x,4;cmds:0,%b" % (place(session, "cmp_u32"), with_expression(printf))) == b"OK"
    client.send(framed(b"vCont;c"))
    wait_until(lambda: slowest(session, 1, time.monotonic) > 0.05, "the guest waits for the client")
    assert slowest(session, 20, time.monotonic) < 60  # some 0.1 s; all that is printed in a slice takes minutes


def test_what_a_client_can_have_kept_is_bounded(session: Session, client: Client) -> None:
    """Tracepoints, their actions and sources, state variables, conditions of breakpoints, a trace buffer."""
    text, kfree = place(session, "_stext"), place(session, "kfree")
    huge = with_expression(b"\x22\x01\x29" * 0x5000 + b"\x27")

    def until_refused(*packets: bytes) -> int:
        for n, packet in enumerate(packets):
            if (reply := client.ask(packet)) != b"OK":
                assert reply.startswith(b"E."), reply
                return n
        raise AssertionError("nothing was refused")

    assert until_refused(*(b"Z0,%x,4;%b" % (text + 4 * n, huge) for n in range(100))) < 20
    assert until_refused(*(b"Z0,%x,4;cmds:1,X1,27" % (text + 4 * n) for n in range(200, 2000))) < 1000
    assert until_refused(*(b"QTDP:%x:%x:E:0:0" % (n + 1, text + 4 * n) for n in range(2000))) == 1000
    assert client.ask(b"QTinit") == b"OK"
    assert client.ask(b"QTDP:1:%x:E:0:0" % kfree) == b"OK"
    assert until_refused(*([b"QTDP:-1:%x:" % kfree + b"M-1,4000,10" * 100] * 20)) == 10
    assert until_refused(*([b"QTDPsrc:1:%x:cmd:0:ea60:%b" % (kfree, b"61" * 60_000)] * 100)) < 50
    assert client.ask(b"QTinit") == b"OK"
    assert until_refused(*(b"QTDV:%x:1:0:61" % n for n in range(2, 20_000))) < 10_001
    assert client.ask(b"QTBuffer:size:4000000000000000").startswith(b"E.")
    assert client.ask(b"qC") == b"QC1"


def words(*instructions: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in instructions).hex().encode()


DAIFSET, WFI, HERE, BACK, UNDEFINED, BRK = 0xD503_43DF, 0xD503_207F, 0x1400_0000, 0x17FF_FFFF, 0, 0xD420_0000
WEDGED = {
    "WFI with interrupts masked": (words(DAIFSET, WFI, BACK), b""),
    "a loop": (words(HERE), b""),
    "a loop with interrupts masked": (words(DAIFSET, HERE), b""),
    "a panic": (words(UNDEFINED), b""),
    "a vector that is undefined": (words(UNDEFINED), words(UNDEFINED)),
    "a vector that is a breakpoint": (words(BRK), words(BRK)),
}


@pytest.mark.parametrize("how", WEDGED)
def test_guests_that_are_wedged(session: Session, client: Client, how: str) -> None:
    """Ctrl-C gets them back, while they run, are stepped, or called; and a reset makes them sane."""
    code, vector = WEDGED[how]
    machine = session.machine
    assert client.ask(b"M%x,%x:%b" % (machine.registers.pc, len(code) // 2, code)) == b"OK"
    if vector:
        at = machine.registers["vbar_el1"] + 0x200
        assert client.ask(b"M%x,%x:%b" % (at, len(vector) // 2, vector)) == b"OK"
    call = b"qRcmd," + f"call {machine.registers.pc:#x}".encode().hex().encode()
    for packet in (call, b"vCont;c", b"vCont;r0,ffffffffffffffff", b"vCont;c"):
        client.send(framed(packet))
        busy(session, client)  # a call that panics may be over at once
        began = time.process_time()
        client.send(b"\x03")
        assert stop_reply(client)[:3] == (b"OK" if packet == call else b"T02"), packet
        assert time.process_time() - began < _SOON
        assert client.ask(b"vCont;s")[:3] == b"T05"
    assert client.ask(b"vRun;")[:3] == b"T05"
    assert client.ask(b"Z0,%x,4" % place(session, "batch_report")) == b"OK"
    assert b"swbreak" in client.ask(b"vCont;c")


def test_a_guest_that_is_over(session: Session, server: Server) -> None:
    """It powers off while a client waits; the next client is told, and may start it anew."""
    with Client(server.address) as client:
        client.start_no_ack()
        session.machine.console.write(b"q")
        client.send(framed(b"vCont;c"))
        assert stop_reply(client) == b"W00"
    with Client(server.address) as client:
        assert client.ask(b"!") == b"OK"
        assert client.ask(b"?") == b"W00"
        assert client.ask(b"vRun;")[:3] == b"T05"


def test_a_command_is_interrupted(session: Session, client: Client) -> None:
    client.send(framed(b"qRcmd," + b"call workload_run".hex().encode()))
    busy(session)
    began = time.process_time()
    client.send(b"\x03")
    assert b"did not return: interrupted" in bytes.fromhex(client.reply()[1:].decode())
    assert client.reply() == b"OK"
    assert time.process_time() - began < _SOON
    assert client.ask(b"vCont;s")[:3] == b"T05"


# What is asked, and how the answer begins.
ODD = [
    (b"mffffffffffffffff,10", b"E."),
    (b"mfffffffffffffffc,4", b"E."),
    (b"m10000000000000000,4", b"E."),
    (b"m-1,4", b"E."),
    (b"Xffff800000200000,4:abc", b"E.malformed packet: 3 bytes"),
    (b"P0=", b"E.malformed packet: x0 has 8 bytes, not 0"),
    (b"P0=00", b"E."),
    (b"P21=0000000000000000", b"E.malformed packet: cpsr has 4 bytes, not 8"),
    (b"G00", b"E."),
    (b"Z0,0,0", b"OK"),
    (b"Z0,3,4", b"OK"),
    (b"Z0,ffffffffffffffff,4", b"OK"),
    (b"Z0,fffffffffffffffc,4", b"OK"),
    (b"Z1,ffffffffffffffff,4;X3,220027", b"OK"),
    (b"Z2,ffffffffffffffff,8", b"OK"),
    (b"Z4,0,ffffffffffffffff", b"OK"),
    (b"Z5,0,4", b""),
    (b"qCRC:ffff800000080000,ffffffffffffffff", b"E."),
    (b"qSearch:memory:ffff800000080000;ffffffffffffffff;nowhere", b"E."),
    (b"vRun;78", b"E."),
    (b"vRun;;61", b"E."),
    (b"vRun;7a7", b"E."),
    (b"vFile:open:2e2e2f2e2e2f6574632f706173737764,0,0", b"F-1,2"),
    (b"vFile:pread:0,ffffffffffffffff,0", b"F-1,9"),
    (b"qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff", b"l"),
    (b"qXfer:features:read:../target.xml:0,10", b"E."),
    (b"vCont;x", b"E.malformed packet: 'x' is no action of vCont"),
    (b"vCont;c:2", b"E."),
    (b"QTDPsrc:1:0:at:0:1:41", b"E."),
    (b"QTDP:-1:0:R1", b"E."),
    (b"QTFrame:0", b"F-1"),
]


@pytest.mark.parametrize(("packet", "expected"), ODD)
def test_odd_packets(session: Session, client: Client, packet: bytes, expected: bytes) -> None:
    """Each is answered at once and once, by one sentence if it is refused; and the guest goes on."""
    began = time.process_time()
    reply = client.ask(packet)
    assert time.process_time() - began < _SOON
    assert reply.startswith(expected), reply
    assert reply or not expected
    assert b"defect" not in reply
    if packet[:1] == b"Z" and reply:
        assert client.ask(b"z" + packet[1:].partition(b";")[0]) == b"OK"
    assert client.ask(b"Z0,%x,4" % place(session, "kfree")) == b"OK"
    assert b"swbreak" in client.ask(b"vCont;c")


def test_many_at_once(server: Server) -> None:
    """Each gets control in the end, or a refusal; never two of them at a time."""
    inside, answers = threading.Semaphore(1), Counter[bytes]()

    def one() -> None:
        with Client(server.address, handshake=False) as client:  # a refusal ends the first question
            answer = client.ask(b"?")
            if answer[:1] == b"T":
                assert inside.acquire(blocking=False)
                time.sleep(0.02)
                inside.release()
                assert client.ask(b"D") == b"OK"
            answers[answer[:1]] += 1

    clients = [threading.Thread(target=one) for _ in range(12)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(PATIENCE)
    assert sum(answers.values()) == 12
    assert set(answers) <= {b"T", b"E"}
    assert answers[b"T"] > 0
