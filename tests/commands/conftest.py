# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the commands share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GdbSession
from tests.commands.toy import ToySession


@pytest.fixture
def session() -> ToySession:
    return ToySession()


@pytest.fixture
def gdb(session: ToySession, gdb_path: str) -> Iterator[GdbSession]:
    """A gdb attached to the session through armprobe's own stub."""
    with GdbSession(session, gdb=gdb_path) as gdb:
        yield gdb


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's own history."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path
