# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals to a Python program that runs a machine on its main thread, each in a process of its own."""

import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason
from tests.waiting import PATIENCE

# `count` signals at random moments, one when the last was caught; then every hit is counted, against `intercept`.
STORM = """
import os, random, signal, sys, threading, time
from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe

count, chance = 150, random.Random(1)
guest = machine.load("demo")
guest.run(until="workload_run")
kprobes = Kprobes(guest, sys.argv[1])
arrived = {"kfree": 0, "kmalloc": 0}

def arrives(name):
    def function(_):
        arrived[name] += 1
        running.set()
    return function

def pre(probe, regs):
    if probe.hits % 20 == 0:
        guest.call("strlen", guest.symbols["__start_rodata"].address)

kfree = kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre, post_handler=lambda p, regs, flags: None))
kmalloc = kprobes.register_kretprobe(Kretprobe("kmalloc", handler=lambda ri, regs: None))
for name in arrived:
    guest.intercept(guest.symbols[name].address, arrives(name))
caught, running = threading.Event(), threading.Event()

def send():
    for _ in range(count):
        running.wait()
        time.sleep(chance.random() * 0.01)
        os.kill(os.getpid(), signal.SIGINT)
        caught.wait()
        caught.clear()

sender = threading.Thread(target=send)
sender.start()
got = 0
while got < count:
    try:
        guest.run()
    except KeyboardInterrupt:
        got += 1
        running.clear()
        at = guest.symbols.at(guest.registers.pc)
        print("at", at[0].name if at else hex(guest.registers.pc))
        caught.set()
sender.join()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
guest.run(instructions=500_000)
assert {"kfree": kfree.hits, "kmalloc": kmalloc.hits} == arrived, arrived
assert (kfree.nmissed, kmalloc.nmissed, kmalloc.kp.nmissed, kprobes.errors) == (0, 0, 0, []), kprobes.list()
"""

# A time limit whose handler raises, while handlers run most of the time; and one that only counts.
ALARM = """
import signal
from armprobe import machine
from armprobe.probes import Kprobe, Kprobes

guest = machine.load("demo")
guest.run(until="workload_run")
kprobes = Kprobes(guest)
kfree = kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: sum(range(1000))))
ticks = []

def tick(number, frame):
    ticks.append(number)

def late(number, frame):
    raise TimeoutError

signal.signal(signal.SIGALRM, late)
signal.signal(signal.SIGVTALRM, tick)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.005, 0.005)
runs = 0
while runs < 20 or len(ticks) <= 5:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        guest.run()
    except TimeoutError:
        runs += 1
        continue
    raise AssertionError("no timeout")
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGVTALRM)) == (late, tick)
assert (kprobes.errors, kfree.nmissed) == ([], 0)
"""

# The first signal waits for the handler, which does not end; the second ends it.
ENDLESS = """
import os, signal, threading, time
from armprobe import machine
from armprobe.probes import Kprobe, Kprobes

guest = machine.load("demo")
guest.run(until="workload_run")
kprobes = Kprobes(guest)
inside = threading.Event()

def pre(probe, regs):
    inside.set()
    while True:
        time.sleep(0.001)

def send():
    inside.wait()
    while True:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

def once(number, frame):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt

probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre))
signal.signal(signal.SIGINT, once)
threading.Thread(target=send, daemon=True).start()
try:
    guest.run()
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not interrupted")
kprobes.unregister(probe)
kfree = kprobes.register_kprobe(Kprobe("kfree"))
guest.run(instructions=500_000)
assert kfree.hits > 10 and not kfree.nmissed, kfree
"""

# The guest is run by the session's own thread, and the signal is this one's.
SESSION = """
import os, signal, sys, threading, time
from armprobe.commands import Session

def kill():
    if sys.argv[1] == "process":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

with Session("demo") as session:
    for _ in range(5):
        before = session.machine.instructions
        running = threading.Event()
        session.machine.intercept(session.machine.symbols["kfree"].address, lambda _: running.set())
        threading.Thread(target=lambda: running.wait() and kill(), daemon=True).start()
        try:
            session.run("continue")
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("not interrupted")
        stopped = session.machine.instructions
        assert stopped > before
        assert session.run("continue instructions=1000").startswith("stopped as asked")
        assert session.machine.instructions == stopped + 1000
"""


def run(program: str, *arguments: str) -> str:
    """What the program prints, which is nothing to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        # A shell's job in the background, and what it starts, ignores SIGINT (POSIX, Shell Command Language, 2.11).
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("era", ["v4.8", "v6.1"])
@pytest.mark.sample
def test_no_ctrl_c_is_lost(era: str) -> None:
    """And it stops where the guest spends its time: not in vectors, slots and trampolines."""
    places = Counter(line.split()[1] for line in run(STORM, era).splitlines())
    assert places.total() == 150
    assert not [place for place in places if place.startswith(("0x", "vectors", "el1"))], places


def test_other_signals() -> None:
    run(ALARM)


@pytest.mark.parametrize("to", ["process", "thread"])
def test_a_session_on_another_thread(to: str) -> None:
    """Ctrl-C stops the guest: it does not go on unseen.

    A signal that the system gives another thread does not end the main thread's sleep, like one that comes just before
    that.
    """
    run(SESSION, to)


def test_a_handler_that_does_not_end() -> None:
    run(ENDLESS)


def test_a_second_thread_is_refused() -> None:
    guest = machine.load("demo", memory="16M")
    guest.run(until="workload_run")
    running = threading.Event()
    guest.scheduler.between_slices = running.set
    other = threading.Thread(target=guest.run)
    other.start()
    try:
        assert running.wait(PATIENCE)
        for use in (
            guest.run,
            guest.step,
            guest.reset,
            guest.snapshot,
            lambda: guest.call("fib", 3),
            lambda: guest.registers.x[0],
            lambda: guest.registers["vbar_el1"],
            lambda: setattr(guest.registers, "pc", 0),
            lambda: guest.memory.read(guest.symbols["kfree"].address, 4),
            lambda: guest.memory.write(guest.symbols["kfree"].address, bytes(4)),
            lambda: guest.breakpoints.add(guest.symbols["kfree"].address),
        ):
            with pytest.raises(MachineError, match="another thread runs this machine"):
                use()
    finally:
        guest.interrupt()
        other.join(PATIENCE)
    assert guest.run(instructions=1000).reason is StopReason.INSTRUCTIONS
    assert guest.call("fib", 10) == 55


@pytest.mark.parametrize("started", range(4))
def test_interrupted_where_the_guest_is(started: int) -> None:
    """The demo kernel takes exceptions all the time, and hardly spends any in its vectors."""
    guest: Machine = machine.load("demo", memory="16M")
    guest.run(until="workload_run")
    guest.run(instructions=started * 77_777)
    start = guest.registers["vbar_el1"]
    for _ in range(10):
        timer = threading.Timer(0.01, guest.interrupt)
        timer.start()
        assert guest.run().reason is StopReason.INTERRUPTED
        timer.join()
        assert not start <= guest.registers.pc < start + 0x800
