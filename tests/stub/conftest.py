# SPDX-License-Identifier: GPL-2.0-or-later
"""A target, a server for it and a client of that, for every test of the stub."""

from collections.abc import Iterator

import pytest

from armprobe.stub import Server, serve
from tests.stub.client import Client
from tests.stub.fake import FakeTarget


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def server(target: FakeTarget) -> Iterator[Server]:
    with serve(target, "127.0.0.1:0") as server:
        yield server
    assert not target.attached


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client
