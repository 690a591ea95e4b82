# SPDX-License-Identifier: GPL-2.0-or-later
"""What a debugger's control of the guest keeps others from, and when it ends."""

import threading
from collections.abc import Iterator

import pytest

from armprobe.commands import Session
from armprobe.stub import Client
from tests.waiting import PATIENCE, wait_until  # tests have no import name to go by


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def test_a_command_whose_debugger_has_gone(session: Session) -> None:
    said: list[str] = []
    debugger = Client(trusted=False)
    session.debug_target.attach(debugger)
    session.debug_target.detach()
    assert not session.debug_target.command(debugger, "continue instructions=1000", said.append)
    session.debug_target.attach(Client(trusted=True))  # nor is it done for the next one, who may do more
    assert not session.debug_target.command(debugger, "semihosting files=gdb", said.append)
    assert said == ["the debugger has let go of the guest\n"] * 2
    assert session.machine.instructions == 0
    assert not session.debug_target.lends_files
    session.debug_target.detach()


def test_a_command_whose_debugger_goes(session: Session) -> None:
    """Before its turn has come: it must not run the guest as if nobody had been in control."""
    said: list[str] = []
    debugger = Client()
    session.debug_target.attach(debugger)
    begun, free = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return free.wait(PATIENCE)

    busy = session.owner.submit(work)
    assert begun.wait(PATIENCE)
    command = threading.Thread(
        target=session.debug_target.command, args=(debugger, "continue instructions=1000", said.append)
    )
    command.start()
    wait_until(lambda: session.owner._work.qsize() == 1, "the command waits for its turn")
    leaving = threading.Thread(target=session.debug_target.detach)
    leaving.start()
    wait_until(lambda: session.owner._work.qsize() == 2, "so does the debugger's leaving")
    free.set()
    for thread in (command, leaving):
        thread.join(PATIENCE)
    assert busy.result(PATIENCE)
    assert said == ["gdb is in control of the guest: continue or step there, or detach it\n"]
    assert session.machine.instructions == 0
    assert not session.controlled
