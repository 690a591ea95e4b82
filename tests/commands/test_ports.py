# SPDX-License-Identifier: GPL-2.0-or-later
"""The address of the stub, and the port of a second armprobe."""

import socket
from collections.abc import Iterator

import pytest

from armprobe.commands.cli.open_session import listening
from armprobe.commands.cli.options import LISTEN, Options
from armprobe.commands.settings import Settings
from armprobe.session import Session
from armprobe.stub import StubError


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address that something listens at, in the place of the default one."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr("armprobe.commands.cli.open_session.LISTEN", address)
    yield address
    listener.close()


def test_a_second_armprobe_takes_another_port(taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Session("demo") as session, listening(session, Options("prompt"), default=taken):
        assert session.stub_address != taken
        host, _, port = session.stub_address.rpartition(":")
        socket.create_connection((host, int(port)), 600).close()
        assert capsys.readouterr().err == (
            f"note: {taken} is in use, so gdb attaches at {session.stub_address} here (--listen chooses another)\n"
        )


@pytest.mark.parametrize("how", ["command line", "settings"])
def test_an_address_that_the_user_gave_is_an_error(taken: str, how: str) -> None:
    given = (
        Options("prompt", listen=taken)
        if how == "command line"
        else Options("prompt", settings=Settings(options={"listen": taken}))
    )
    with (
        Session("demo") as session,
        pytest.raises(StubError, match=f"^{taken} is in use: stop what listens there, or listen elsewhere$"),
        listening(session, given, default=given.usual_listen),
    ):
        pass


def test_the_default_address() -> None:
    assert Options("prompt").usual_listen == LISTEN == "127.0.0.1:1234"
