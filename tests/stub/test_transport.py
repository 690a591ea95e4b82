# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses, sockets, and who is in control."""

import logging
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.stub import Server, StubError, serve
from tests.stub.client import Client, framed
from tests.stub.fake import BASE, FakeTarget
from tests.waiting import PATIENCE, wait_until


@pytest.mark.parametrize(
    ("address", "begins"),
    [("127.0.0.1:0", "127.0.0.1:"), ("localhost:0", "127.0.0.1:"), (":0", "127.0.0.1:"), ("[::1]:0", "[::1]:")],
)
def test_loopback(target: FakeTarget, address: str, begins: str, caplog: pytest.LogCaptureFixture) -> None:
    with serve(target, address) as server:
        assert server.address.startswith(begins)
        assert int(server.address.rpartition(":")[2]) > 0
        with Client(server.address) as client:
            assert client.ask(b"qC") == b"QC1"
    assert not caplog.records


def test_elsewhere_only_by_name_and_with_a_warning(target: FakeTarget, caplog: pytest.LogCaptureFixture) -> None:
    with serve(target, "0.0.0.0:0") as server:
        assert server.address.startswith("0.0.0.0:")
    assert [(record.levelno, "no password" in record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


@pytest.mark.parametrize("address", ["", "1234", "127.0.0.1", "host:port", "1:2:3", "::1:1", ":65536", ":-1", "unix:"])
def test_what_is_no_address(target: FakeTarget, address: str) -> None:
    with pytest.raises(StubError, match=r"unix:/path"):
        serve(target, address)


@pytest.mark.parametrize("address", ["no-such-host.invalid:0", "198.51.100.1:0", "unix:/no/such/folder/s", "a..b:0"])
def test_where_one_cannot_listen(target: FakeTarget, address: str) -> None:
    with pytest.raises(StubError, match=r"^cannot listen on \S+: \S"):
        serve(target, address)


def test_a_long_socket_path(target: FakeTarget, tmp_path: Path) -> None:
    with pytest.raises(StubError, match="too long"):
        serve(target, f"unix:{tmp_path / ('x' * 200)}")


def test_a_port_in_use(server: Server) -> None:
    with pytest.raises(StubError, match=f"^{server.address} is in use: "):
        serve(FakeTarget(), server.address)


def test_a_port_is_free_again_at_once(target: FakeTarget) -> None:
    address = "127.0.0.1:0"
    for _ in range(3):
        with serve(target, address) as server, Client(server.address) as client:
            assert client.ask(b"qC") == b"QC1"
            address = server.address


def test_unix_socket(target: FakeTarget, tmp_path: Path) -> None:
    path = tmp_path / "stub"
    with serve(target, f"unix:{path}") as server:
        assert server.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(server.address) as client:
            assert client.ask(b"qC") == b"QC1"
        with pytest.raises(StubError, match="is in use"):
            serve(target, f"unix:{path}")
    assert not path.exists()


def test_a_socket_left_behind_is_replaced_and_nothing_else(target: FakeTarget, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with serve(target, f"unix:{left}"):
        pass
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StubError, match="is in use"):
        serve(target, f"unix:{file}")
    assert file.read_text() == "precious"


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A socket's path has 107 bytes at most (unix(7)), which those of pytest's folders may reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


@pytest.mark.parametrize("runtime", ["", "run", "absent", "of another user", "long"])
def test_a_private_socket(
    target: FakeTarget,
    short_folder: str,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    tool: Callable[[str, str], str],
) -> None:
    """It is where such things belong (XDG Base Directory Specification), and nobody else can get there."""
    place = Path(short_folder)
    folder, temporary = place / ("x" * 100 if runtime == "long" else runtime), place / "with a space"
    temporary.mkdir()
    if runtime != "absent":
        folder.mkdir(exist_ok=True)
    if runtime == "of another user":
        owner = folder.stat().st_uid
        monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder) if runtime else "")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with serve(target) as server:
        path = Path(server.address.removeprefix("unix:"))
        assert path.parent.parent == (folder if runtime == "run" else temporary)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        gdb = [tool("gdb-multiarch", "gdb-multiarch"), "-nx", "-batch", "-ex", f"target remote {path}"]
        done = subprocess.run([*gdb, "-ex", "print/x $pc"], capture_output=True, text=True, check=False)
        assert f"$1 = {BASE:#x}" in done.stdout, done.stderr
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("address", "trust_tcp", "trusted"),
    [("127.0.0.1:0", False, False), ("127.0.0.1:0", True, True), ("[::1]:0", False, False), ("private", False, True)],
)
def test_who_is_trusted(target: FakeTarget, address: str, trust_tcp: bool, trusted: bool) -> None:
    with serve(target, address, trust_tcp=trust_tcp) as server, Client(server.address) as client:
        assert target.trusted is trusted
        client.ask(b"!")
        assert client.ask(b"D") == b"OK"
        assert client.ask(b"vAttach;1")[:3] == b"T05"
        assert target.trusted is trusted


def test_one_client_at_a_time(server: Server, target: FakeTarget) -> None:
    with Client(server.address) as first:
        assert first.ask(b"qC") == b"QC1"
        with Client(server.address, handshake=False) as second:
            assert second.ask(b"qSupported:") == b"E.another debugger is in control of this machine: detach it first"
            assert second.rest() == b""
        assert first.ask(b"qC") == b"QC1"
        assert first.ask(b"D") == b"OK"
    with Client(server.address) as third:
        assert third.ask(b"qC") == b"QC1"
        assert third.ask(b"D") == b"OK"
    assert target.calls == ["attach", "detach"] * 2


def test_a_client_may_follow_at_once(server: Server) -> None:
    """The end of the one may be noticed after the beginning of the next."""
    for _ in range(50):
        with Client(server.address) as client:
            assert client.ask(b"qC") == b"QC1"


@pytest.mark.parametrize("running", [True, False])
def test_closing_lets_go_of_the_machine(target: FakeTarget, monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    monkeypatch.setattr("armprobe.stub.transport._JOIN", PATIENCE)
    server = serve(target, "127.0.0.1:0")
    with Client(server.address) as client:
        client.ask(b"?")
        if running:
            client.send(framed(b"vCont;c"))
            assert client.byte() == b"+"
        start = time.monotonic()
        server.close()
        assert time.monotonic() < start + PATIENCE  # it has not waited in vain
        assert client.rest() == b""
        assert target.calls == ["attach", "detach"]
        server.close()
        with pytest.raises(ConnectionRefusedError):
            Client(server.address)


def test_no_thread_is_left(target: FakeTarget) -> None:
    before = threading.active_count()
    for _ in range(3):
        with serve(target, "127.0.0.1:0") as server, Client(server.address) as client:
            client.ask(b"?")
    wait_until(lambda: threading.active_count() <= before, "the threads end")
