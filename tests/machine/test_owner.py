# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine, several threads."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from armprobe import machine
from armprobe.machine import CallNotReturned, Machine, Owner, Stop, StopReason
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner(machine.load("demo", memory="16M"))
    yield owner
    owner.close()


def start(owner: Owner, run: Callable[[], Stop] | None = None, brief: bool = False) -> Future[Stop]:
    """Resume the guest; the future is done when it has stopped."""
    stopped: Future[Stop] = Future()

    def done(how: Stop | BaseException) -> None:
        if isinstance(how, Stop):
            stopped.set_result(how)
        else:
            stopped.set_exception(how)

    owner.resume(run or owner.machine.run, done, brief)
    return stopped


def test_calls_and_what_they_raise(owner: Owner) -> None:
    assert owner.call(lambda a, b: a + b, 2, b=3) == 5
    assert owner.call_briefly(lambda: owner.machine.instructions) == 0
    for call in (owner.call, owner.call_briefly):
        with pytest.raises(ZeroDivisionError):
            call(lambda: 1 // 0)
    assert owner.call(lambda: "still there") == "still there"


def test_one_thread_at_a_time(owner: Owner) -> None:
    """However many ask, and from inside work too."""
    users: list[int] = []
    most: list[int] = []

    def work() -> None:
        users.append(1)
        most.append(len(users))
        time.sleep(0.0005)
        assert owner.call(lambda: len(users)) == 1
        users.pop()

    def ask(call: Callable[[Callable[[], None]], None]) -> None:
        for _ in range(50):
            call(work)

    threads = [threading.Thread(target=ask, args=(call,)) for call in (owner.call, owner.call_briefly) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == [1] * 200


def test_work_while_the_guest_runs(owner: Owner) -> None:
    stopped = start(owner)
    counts = [owner.call(lambda: owner.machine.instructions) for _ in range(5)]
    assert owner.running
    assert counts == sorted(counts)
    with pytest.raises(RuntimeError, match="running already"):
        owner.resume(owner.machine.run, lambda _: None)
    owner.interrupt()
    assert stopped.result(PATIENCE).reason is StopReason.INTERRUPTED
    assert not owner.running
    assert owner.machine.instructions >= counts[-1]


def test_interrupts_of_a_stopped_guest_are_not_kept(owner: Owner) -> None:
    owner.interrupt()
    stopped = start(owner, lambda: owner.machine.run(instructions=1000))
    assert stopped.result(PATIENCE).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize("brief", [False, True])
def test_runs_that_fail(owner: Owner, brief: bool) -> None:
    def fail() -> Stop:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start(owner, fail, brief).result(PATIENCE)
    assert not owner.running
    assert start(owner, owner.machine.step, brief).result(PATIENCE).reason is StopReason.INSTRUCTIONS


def idle_guest(guest: Machine) -> None:
    """At a WFI, with no timer set."""
    guest.memory.write(0x4000_1000, (0xD503_207F).to_bytes(4, "little") + (0x17FF_FFFF).to_bytes(4, "little"))
    guest.registers.pc = 0x4000_1000


@pytest.mark.parametrize("brief", [False, True])
def test_a_guest_that_idles_is_waited_with(owner: Owner, brief: bool) -> None:
    """Until it is interrupted; work is done meanwhile."""
    owner.call(idle_guest, owner.machine)
    stopped = start(owner, brief=brief)
    time.sleep(0.1)
    assert not stopped.done()
    assert owner.call(lambda: owner.machine.registers.pc) in (0x4000_1000, 0x4000_1004)
    owner.interrupt()
    assert stopped.result(PATIENCE).reason is StopReason.INTERRUPTED


def test_close_ends_a_run() -> None:
    owner = Owner(machine.load("demo", memory="16M"))
    stopped = start(owner)
    owner.close()
    assert stopped.result(PATIENCE).reason is StopReason.INTERRUPTED


def test_interrupting_a_call(owner: Owner) -> None:
    """Of a guest function that never returns; what comes after it is not interrupted."""
    machine = owner.machine
    owner.call(machine.run, until="workload_round")
    begun = threading.Event()

    def call() -> None:
        with owner.interruptible():
            begun.set()
            machine.call("workload_run")

    future = owner.submit(call)
    assert begun.wait(PATIENCE)
    before = machine.instructions
    wait_until(lambda: machine.instructions > before, "the function runs")
    owner.interrupt()
    with pytest.raises(CallNotReturned, match="interrupted"):
        future.result(PATIENCE)
    owner.interrupt()
    assert owner.call(machine.run, instructions=100).reason is StopReason.INSTRUCTIONS


def test_interrupting_what_does_not_run_the_guest(owner: Owner) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> bool:
        with owner.interruptible():
            begun.set()
            return ended.wait(PATIENCE)

    future = owner.submit(work)
    assert begun.wait(PATIENCE)
    owner.interrupt()
    ended.set()
    assert future.result(PATIENCE)
    assert owner.call(owner.machine.run, instructions=100).reason is StopReason.INSTRUCTIONS
