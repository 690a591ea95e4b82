# SPDX-License-Identifier: GPL-2.0-or-later
"""The behaviours that the kernel's KUnit cases for kprobes check (lib/tests/test_kprobes.c), on our probes.

Its targets divide a number by three, once adding one to that; ours multiply one by three and mix two. What is checked
is the same: that handlers run around a target's instruction and may call guest functions themselves, what re-entry
costs, what return handlers see, and that a backtrace has the real return address where the trampoline's has been put.
"""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs

VALUE = 0x2F0F
ADD_X1_X0_X0, ADD_X0_X1_X0, RET = 0x8B000001, 0x8B000020, 0xD65F03C0


class Handlers:
    """A pre-handler and a post-handler that call a guest function, as the kernel's call their recursed target."""

    def __init__(self, demo: machine.Machine, recursed: str) -> None:
        self.demo, self.recursed = demo, recursed
        self.pre = self.post = 0

    def pre_handler(self, p: Kprobe, regs: PtRegs) -> None:
        assert regs.pstate & 0x80 == 0  # what it interrupted could be preempted
        self.pre = self.demo.call(self.recursed, VALUE)

    def post_handler(self, p: Kprobe, regs: PtRegs, flags: int) -> None:
        assert self.demo.call(self.recursed, VALUE) == self.pre
        self.post = self.pre + 3

    def kprobe(self, target: str) -> Kprobe:
        return Kprobe(target, pre_handler=self.pre_handler, post_handler=self.post_handler)

    def reset(self) -> None:
        self.pre = self.post = 0


def test_kprobe(demo: machine.Machine, kprobes: Kprobes) -> None:
    """test_kprobe: both handlers run, and call a function that has no probe."""
    handlers = Handlers(demo, "pcrel_leaf")
    probe = kprobes.register_kprobe(handlers.kprobe("bti_mix"))
    demo.call("bti_mix", VALUE, 1)
    kprobes.unregister(probe)
    assert (handlers.pre, handlers.post) == (3 * VALUE, 3 * VALUE + 3)
    assert kprobes.errors == []
    demo.call("bti_mix", VALUE, 1)
    assert probe.hits == 1


def test_kprobes(demo: machine.Machine, kprobes: Kprobes) -> None:
    """test_kprobes: two registered in one request, each with handlers of its own."""
    first, second = Handlers(demo, "pcrel_leaf"), Handlers(demo, "pcrel_leaf")
    probes = [first.kprobe("bti_mix"), second.kprobe("checksum_mix")]
    kprobes.register_kprobes(probes)
    for target, hit, other in (("bti_mix", first, second), ("checksum_mix", second, first)):
        first.reset()
        second.reset()
        demo.call(target, VALUE, 1)
        assert hit.pre
        assert hit.post
        assert (other.pre, other.post) == (0, 0)
    kprobes.unregister_kprobes(probes)
    assert kprobes.errors == []


def test_kprobe_missed(demo: machine.Machine, kprobes: Kprobes) -> None:
    """test_kprobe_missed: a probe on the function that its own handlers call is missed twice, and that call works."""
    handlers = Handlers(demo, "pcrel_leaf")
    probe = kprobes.register_kprobe(handlers.kprobe("pcrel_leaf"))
    assert demo.call("pcrel_leaf", VALUE) == 3 * VALUE
    assert probe.nmissed == 2
    assert (handlers.pre, handlers.post, probe.hits) == (3 * VALUE, 3 * VALUE + 3, 1)
    assert kprobes.errors == []


class Returns:
    """An entry handler and a return handler that leave a mark."""

    def __init__(self, expected: int) -> None:
        self.mark, self.expected = 0, expected

    def entry(self, ri: KretprobeInstance, regs: PtRegs) -> None:
        self.mark = self.expected // 3

    def returned(self, ri: KretprobeInstance, regs: PtRegs) -> None:
        assert regs.return_value == self.expected
        assert self.mark == self.expected // 3
        self.mark = VALUE

    def kretprobe(self, target: str) -> Kretprobe:
        return Kretprobe(target, entry_handler=self.entry, handler=self.returned)


def test_kretprobe(demo: machine.Machine, kprobes: Kprobes) -> None:
    """test_kretprobe: the entry handler before, the return handler with the result."""
    returns = Returns(3 * VALUE)
    probe = kprobes.register_kretprobe(returns.kretprobe("pcrel_leaf"))
    assert demo.call("pcrel_leaf", VALUE) == 3 * VALUE
    kprobes.unregister(probe)
    assert returns.mark == VALUE
    assert kprobes.errors == []


def test_kretprobes(demo: machine.Machine, kprobes: Kprobes) -> None:
    """test_kretprobes: two in one request."""
    results = {target: demo.call(target, VALUE, 1) for target in ("pcrel_leaf", "checksum_mix")}
    returns = {target: Returns(result) for target, result in results.items()}
    probes = [mark.kretprobe(target) for target, mark in returns.items()]
    kprobes.register_kretprobes(probes)
    for target, mark in returns.items():
        for each in returns.values():
            each.mark = 0
        assert demo.call(target, VALUE, 1) == results[target]
        assert [each.mark for each in returns.values()] == [VALUE * (each is mark) for each in returns.values()]
    kprobes.unregister_kprobes(probes)
    assert kprobes.errors == []


def callers(kprobes: Kprobes) -> list[int]:
    """Where the callers of the code that the guest is in will go on."""
    return [frame.pc for frame in kprobes.backtrace().frames if frame.called]


@pytest.mark.parametrize("nested", [False, True])
def test_stacktrace_on_kretprobe(demo: machine.Machine, kprobes: Kprobes, nested: bool) -> None:
    """test_stacktrace_on_kretprobe and test_stacktrace_on_nested_kretprobe: at the return, the real callers are found.

    `kmem_cache_alloc` is called by `kmalloc`; in the nested case that has a return probe as well, and its frame record
    the address of the trampoline. The measure is the same run with a kprobe on the inner function instead.
    """
    state = demo.snapshot()
    expected: list[list[int]] = []

    def entered(p: Kprobe, regs: PtRegs) -> None:
        expected.append(callers(kprobes))

    probe = kprobes.register_kprobe(Kprobe("kmem_cache_alloc", pre_handler=entered, record=False))
    demo.run(until="list_round")
    kprobes.unregister(probe)
    demo.restore(state)

    traces: list[list[int]] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        assert ri.ret_addr == regs.pc
        traces.append([regs.pc, *callers(kprobes)])
        assert kprobes.backtrace().frames[0].pc == regs.pc

    kprobes.register_kretprobe(Kretprobe("kmem_cache_alloc", handler=returned, record=False))
    if nested:
        kprobes.register_kretprobe(Kretprobe("kmalloc", record=False))
    demo.run(until="list_round")
    assert kprobes.errors == []
    assert len(traces) > 10
    assert traces == expected
    names = {demo.symbols.describe(address).partition("+")[0] for trace in traces for address in trace[:3]}
    assert {"kmalloc", "slab_round"} <= names
