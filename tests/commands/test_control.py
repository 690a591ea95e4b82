# SPDX-License-Identifier: GPL-2.0-or-later
"""What a debugger's control of the guest keeps others from, and when it ends."""

import threading
import time
from collections.abc import Iterator

import pytest

from armprobe.commands import Session

_WAIT = 20  # seconds that nothing here takes


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def test_a_command_whose_debugger_has_gone(session: Session) -> None:
    said: list[str] = []
    session.attach()
    session.detach()
    assert not session.command("continue instructions=1000", said.append)
    assert said == ["the debugger has let go of the guest\n"]
    assert session.machine.instructions == 0


def test_a_command_whose_debugger_goes(session: Session) -> None:
    """Before its turn has come: it must not run the guest as if nobody had been in control."""
    said: list[str] = []
    session.attach()
    free = threading.Event()
    busy = session._owner.submit(free.wait, _WAIT)
    command = threading.Thread(target=session.command, args=("continue instructions=1000", said.append))
    command.start()
    until = time.monotonic() + _WAIT
    while session._owner._work.empty() and time.monotonic() < until:
        time.sleep(0.001)
    leaving = threading.Thread(target=session.detach)
    leaving.start()
    leaving.join(0.1)
    free.set()
    for thread in (command, leaving):
        thread.join(_WAIT)
    assert busy.result(_WAIT)
    assert said == ["gdb is in control of the guest: continue or step there, or detach it\n"]
    assert session.machine.instructions == 0
    assert not session.controlled
