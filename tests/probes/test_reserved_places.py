# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of the machine's own code that functions of the guest keep on their stacks are the same going back.

What there is in the machine's own memory besides, such as slots, may then be elsewhere.
"""

import pytest

from armprobe import machine
from armprobe.machine import Machine
from armprobe.machine.core import cpu_state
from armprobe.probes import TRAMPOLINES, Kprobe, Kprobes, Kretprobe, PtRegs
from tests.memories import digest  # tests have no import name to go by


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.run(until="workload_round")
    guest.timeline.take()
    return guest


def look(probe: Kprobe, regs: PtRegs) -> None:
    """A handler, for which the probe has a slot."""


def state(guest: Machine) -> tuple[object, ...]:
    return sorted(cpu_state.read(guest.core).items()), guest.instructions, guest.clock.now, digest(guest.ram.data)


def is_the_same_again(demo: Machine, begin: int) -> bool:
    """Whether the machine is in the state that it is in now when it has gone through its history from `begin` again."""
    seen = state(demo)
    demo.timeline.go(begin)
    demo.timeline.go(demo.timeline.end)
    return state(demo) == seen


@pytest.mark.parametrize("trampoline", TRAMPOLINES)
def test_a_trampoline(demo: Machine, trampoline: str) -> None:
    kprobes, begin = Kprobes(demo, trampoline=trampoline), demo.instructions
    before = kprobes.register_kprobe(Kprobe("strlen", pre_handler=look))
    kprobes.register_kretprobe(Kretprobe("kmalloc", handler=lambda instance, regs: None))
    kprobes.unregister(before)
    demo.run(instructions=50_001)
    assert is_the_same_again(demo, begin)


def test_the_return_address_of_a_call(demo: Machine) -> None:
    kprobes, begin = Kprobes(demo), demo.instructions
    before = kprobes.register_kprobe(Kprobe("strlen", pre_handler=look))
    demo.call("kmalloc", 24)
    kprobes.unregister(before)
    demo.run(instructions=1)
    assert is_the_same_again(demo, begin)
