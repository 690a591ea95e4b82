# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that stays when it lets go: !, R, vRun, vAttach, and what D and vKill are then."""

import io
from collections.abc import Callable

from armprobe.stub import ExecFile, Server
from armprobe.stub.connection import Connection, State
from armprobe.stub.features import REGISTRY
from tests.stub.client import Client, framed, pc
from tests.stub.fake import BASE, FakeTarget


def test_detach_and_attach_again(client: Client, target: FakeTarget) -> None:
    assert client.ask(b"!") == b"OK"
    client.ask(b"Z0,40000040,4")
    assert client.ask(b"D;1") == b"OK"
    assert not target.attached
    assert not target.points
    assert client.ask(b"?") == b"W00"
    assert client.ask(b"qfThreadInfo") == b"l"
    assert b"<thread " not in client.ask(b"qXfer:threads:read::0,1000")  # gdb 18 asks this way only
    for needs_the_machine in (b"g", b"m40000000,4", b"vCont;c", b"Z0,40000040,4"):
        assert client.ask(needs_the_machine) == b"E03"
    assert client.ask(b"vAttach;2") == b"E02"
    assert client.ask(b"vAttach;1")[:3] == b"T05"
    assert client.ask(b"qfThreadInfo") == b"m1"
    assert target.calls == ["attach", "detach", "attach"]


def test_run_again(client: Client, target: FakeTarget) -> None:
    assert client.ask(b"!") == b"OK"
    assert pc(client.ask(b"vCont;s")) == BASE + 4
    assert pc(client.ask(b"vRun;")) == BASE
    assert client.ask(b"vKill;1") == b"OK"
    assert client.ask(b"?") == b"W00"
    assert pc(client.ask(b"vRun;")) == BASE
    assert target.calls == ["attach", "restart", "kill", "detach", "attach", "restart"]


def test_run_of_something_else(client: Client, target: FakeTarget) -> None:
    target.program = ExecFile("/armprobe/x.elf", io.BytesIO)
    client.ask(b"qSupported:error-message+")
    assert client.ask(b"vRun;" + b"/armprobe/x.elf".hex().encode())[:3] == b"T05"
    assert client.ask(b"vRun;" + b"/bin/sh".hex().encode())[:2] == b"E."
    assert client.ask(b"vRun;;" + b"argument".hex().encode()) == (
        b"E.a guest takes no arguments from here: `run` without any"
    )
    assert client.ask(b"vRun;0").startswith(b"E.malformed packet")


def test_restart_has_no_reply(client: Client, target: FakeTarget) -> None:
    client.ask(b"vCont;s")
    client.send(framed(b"R00"))
    assert client.byte() == b"+"
    assert client.ask(b"?") == b"T05thread:1;"
    assert client.ask(b"p20") == BASE.to_bytes(8, "little").hex().encode()


def test_kill_has_no_reply_and_ends_nothing(client: Client, target: FakeTarget) -> None:
    client.ask(b"!")
    client.send(framed(b"k"))
    assert client.byte() == b"+"
    assert client.ask(b"?") == b"W00"
    client.send(framed(b"k"))  # there is nothing left to kill
    assert client.byte() == b"+"
    assert target.calls == ["attach", "kill", "detach"]


def test_leaving_while_the_machine_runs(client: Client, target: FakeTarget) -> None:
    """What stops then is not told to the client any more."""
    client.ask(b"!")
    client.send(framed(b"vCont;c"))
    assert client.byte() == b"+"
    assert client.ask(b"D") == b"OK"
    assert not target.is_running
    assert client.ask(b"?") == b"W00"
    assert client.ask(b"vAttach;1")[:3] == b"T02"


def test_a_client_that_is_not_extended_is_hung_up_on(server: Server) -> None:
    with Client(server.address) as client:
        assert client.ask(b"D") == b"OK"
        assert client.rest() == b""


def test_vanishing_after_letting_go(server: Server, target: FakeTarget) -> None:
    with Client(server.address) as client:
        client.ask(b"!")
        client.ask(b"D")
    with Client(server.address) as client:
        assert client.ask(b"?")[:3] == b"T05"
    assert target.calls[:3] == ["attach", "detach", "attach"]


def test_an_interrupt_of_a_search_that_has_no_machine(target: FakeTarget) -> None:
    """The client has let go of it, and its Ctrl-C comes before the search has found that out."""

    class Slow:
        """A link whose work is done later."""

        def __init__(self) -> None:
            self.sent = b""
            self.work: list[Callable[[], None]] = []

        def send(self, data: bytes) -> None:
            self.sent += data

        def wake(self) -> None:
            pass

        def start(self, work: Callable[[], None]) -> None:
            self.work.append(work)

    link = Slow()
    connection = Connection(target, REGISTRY, link)
    for packet in (b"QStartNoAckMode", b"!", b"D"):
        connection.receive(framed(packet))
    connection.receive(framed(b"qSearch:memory:40000000;100;x") + b"\x03")
    assert connection.state is State.BUSY
    link.work.pop()()
    connection.deliver()
    assert link.sent.endswith(framed(b"OK") + framed(b"E03"))
    assert connection.state.value == "idle"
