# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of clients that come and go leave nothing behind. ARMPROBE_FUZZ makes it ten thousand."""

import gc
import os
import socket
import threading
import time

import pytest

from armprobe.commands import Session
from armprobe.stub import Server, serve
from tests.stub.client import Client, framed
from tests.stub.fake import BASE, FakeTarget
from tests.stub.in_process import descriptors, resident
from tests.waiting import PATIENCE, wait_until

LONG = bool(os.environ.get("ARMPROBE_FUZZ"))
CYCLES = 10_000 if LONG else 600
GUEST_CYCLES = 10_000 if LONG else 120


def settle(threads: int, files: int | None = None) -> None:
    """Wait until what the last client had is given back: no more threads and open files than that are left."""
    wait_until(lambda: threading.active_count() <= threads, "the threads of clients that have left end")
    wait_until(lambda: files is None or descriptors() <= files, "the files of clients that have left are closed")


def one(address: str, number: int) -> None:
    """A client that leaves in one of the ways that there are."""
    with Client(address, handshake=number % 12 != 11) as client:
        match number % 6:
            case 0:
                assert client.ask(b"D") == b"OK"
            case 1:
                client.ask(b"Z0,%x,4" % (BASE + 0x40))
            case 2:
                client.send(framed(b"vCont;c"))
            case 3:
                client.ask(b"QTDP:1:%x:E:0:0" % (BASE + 0x10))
                client.send(framed(b"m%x,8000" % BASE) * 5 + b"$m40")
            case 4:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                client.send(framed(b"g"))
            case 5:
                client.send(b"GET / HTTP/1.0\r\n\r\n")
                client.rest()


def test_many_clients(server: Server, target: FakeTarget) -> None:
    threads = threading.active_count()
    for number in range(60):  # what is allocated once
        one(server.address, number)
    settle(threads)
    files, memory = descriptors(), resident()
    for number in range(CYCLES):
        one(server.address, number)
        target.calls.clear()
    settle(threads, files)
    gc.collect()
    assert resident() - memory < 24 << 20


def debugger(session: Session, address: str, number: int) -> None:
    """One that sets the guest going with all that it has, and leaves in one of the ways that there are."""
    kfree, workload = (session.machine.symbols[name].address for name in ("kfree", "workload"))
    with Client(address) as client:
        client.ask(b"Z0,%x,4;X3,220127" % kfree)
        client.ask(b"Z2,%x,8" % workload)
        client.ask(b"QTDP:1:%x:E:0:0" % kfree)
        client.ask(b"QTStart")
        client.ask(b"qRcmd," + b"kretprobe kmalloc".hex().encode())
        client.packet()
        assert client.ask(b"vCont;c")[:1] == b"T"
        match number % 6:
            case 0:
                assert client.ask(b"D") == b"OK"
            case 1:
                client.send(framed(b"vCont;c"))
            case 2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                client.send(framed(b"g") * 10)
            case 3:
                client.send(framed(b"qRcmd," + b"call workload_run".hex().encode()))
            case 4:
                assert client.ask(b"QTStop") == b"OK"
                client.ask(b"qRcmd," + b"unregister kmalloc".hex().encode())
            case 5:
                assert client.ask(b"vKill;1") == b"OK"
                client.rest()
                with Client(address) as again:
                    again.ask(b"Z0,%x,4" % session.machine.symbols["workload_round"].address)
                    assert again.ask(b"vCont;c")[:3] == b"T05"


@pytest.mark.sample(of="tests")
def test_many_debuggers_of_a_guest() -> None:
    with Session("demo", memory="16M") as session, serve(session, "127.0.0.1:0") as server:
        session.run("continue until=workload_round")
        threads = threading.active_count()
        for number in range(30):
            debugger(session, server.address, number)
        settle(threads)
        files, memory = descriptors(), resident()
        began = time.monotonic()
        for number in range(GUEST_CYCLES):
            debugger(session, server.address, number)
        settle(threads, files)
        gc.collect()
        print(
            f"{GUEST_CYCLES} debuggers in {time.monotonic() - began:.0f} s; "
            f"{memory >> 20} MiB, then {resident() >> 20}; {files} descriptors, then {descriptors()}"
        )
        assert resident() - memory < 24 << 20
        with Client(server.address) as client:
            assert client.ask(b"vKill;1") == b"OK"
            client.rest()
        wait_until(lambda: not session.controlled, "the server lets go")
        assert session.kprobes.list() == []
        assert len(session.machine.breakpoints._wanted) == 0
        assert session.run("continue until=workload_round").startswith("reached")


def test_a_port_scan(server: Server, target: FakeTarget) -> None:
    """Connections that are closed as soon as they are open, many at once."""
    host, port = server.address.rsplit(":", 1)
    for _ in range(5):
        scanners = [socket.create_connection((host, int(port))) for _ in range(20)]
        for scanner in scanners:
            scanner.close()
    deadline = time.monotonic() + PATIENCE
    while True:
        with Client(server.address) as client:
            client.socket.settimeout(5)
            try:
                if client.ask(b"qC") == b"QC1":
                    break
            except (AssertionError, OSError):
                pass
        assert time.monotonic() < deadline, "the scanners keep others out"
    assert target.calls[0] == "attach"


@pytest.mark.parametrize("first", [b"", b"$", framed(b"qC")])
def test_half_open(server: Server, first: bytes) -> None:
    """A client that has said that it will say no more is answered what it has asked, and let go of."""
    with Client(server.address) as client:
        client.send(first)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == (b"+$QC1#c5" if first == framed(b"qC") else b"")
    with Client(server.address) as client:
        assert client.ask(b"qC") == b"QC1"
