# SPDX-License-Identifier: GPL-2.0-or-later
"""On which thread work on a machine is done."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from armprobe import machine
from armprobe.machine import Owner, Stop, StopReason
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner(machine.load("demo", memory="16M"))
    yield owner
    owner.close()


def running(owner: Owner) -> "Future[Stop]":
    """Set the guest running; the future of its stop."""
    stopped: Future[Stop] = Future()
    owner.resume(owner.machine.run, lambda stop: stopped.set_result(stop))  # type: ignore[arg-type]  # nothing fails
    wait_until(lambda: owner.machine.instructions, "the guest runs")
    return stopped


def test_short_work_is_done_where_it_is_wanted(owner: Owner) -> None:
    assert owner.call_briefly(threading.current_thread) is threading.current_thread()
    assert owner.call(threading.current_thread) is not threading.current_thread()


def test_while_the_guest_runs_it_is_done_between_slices(owner: Owner) -> None:
    stopped = running(owner)
    before, thread = owner.call_briefly(lambda: (owner.machine.instructions, threading.current_thread()))
    assert thread is not threading.current_thread()
    while owner.call_briefly(lambda: owner.machine.instructions) == before:
        pass
    owner.interrupt()
    assert stopped.result(PATIENCE).reason is StopReason.INTERRUPTED
    assert not owner.running


def test_work_may_ask_for_work(owner: Owner) -> None:
    for outer in (owner.call, owner.call_briefly):
        for inner in (owner.call, owner.call_briefly):
            assert outer(lambda inner=inner: inner(lambda: owner.machine.registers.pc)) == owner.machine.guest.entry  # type: ignore[misc]


def test_two_at_once_are_refused(owner: Owner) -> None:
    stopped = running(owner)
    for brief in (False, True):
        with pytest.raises(RuntimeError):
            owner.resume(owner.machine.step, lambda stop: None, brief=brief)
    owner.interrupt()
    stopped.result(PATIENCE)
