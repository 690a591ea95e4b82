# SPDX-License-Identifier: GPL-2.0-or-later
"""Where parts of Unicorn that its API does not promise are not found, the machine does without, and runs the same.

Those are the CPU's own registers in memory (a copy is taken instead), and a function of its library for Linux.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import Machine, StopReason
from armprobe.machine.core import calibration, core, native_engine
from armprobe.machine.core.core import Core
from armprobe.machine.native.program import Number, Operation, Program
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs

Run = Callable[[Machine], Iterator[object]]


def digest(guest: Machine) -> str:
    return hashlib.sha256(guest.memory.physical.read(0x4000_0000, 16 << 20)).hexdigest()


def registers(guest: Machine) -> list[int]:
    names = ("sp", "pc", "pstate", "sp_el0", "elr_el1", "spsr_el1", "esr_el1", "far_el1", "v3")
    return [*(guest.registers.x[number] for number in range(31)), *(guest.registers[name] for name in names)]


def slices(guest: Machine) -> Iterator[object]:
    """Interrupts, system calls and faults of the demo, in runs of odd lengths, and single steps."""
    for count in (1, 100_003, 7, 1_999_993):
        assert guest.run(instructions=count).reason is StopReason.INSTRUCTIONS
        yield guest.instructions, registers(guest)
        guest.step(3)
    yield guest.console.read(), digest(guest)


def probed(guest: Machine) -> Iterator[object]:
    """Handlers read registers, write them, and redirect the guest; a function of it is called."""
    kprobes, seen = Kprobes(guest), list[object]()

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        seen.append((list(regs.regs), regs.sp, regs.pc, regs.pstate))
        regs.regs[9] = len(seen)  # a caller-saved register (AAPCS64, 6.1.1)

    def skip(probe: Kprobe, regs: PtRegs) -> int:
        regs.regs[0], regs.pc = 3, regs.regs[30]
        return 1

    def returned(instance: KretprobeInstance, regs: PtRegs) -> None:
        seen.append((instance.ret_addr, regs.regs[0], regs.pc))

    kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre, post_handler=lambda *words: seen.append(words[1].pc)))
    kprobes.register_kretprobe(Kretprobe("kmalloc", handler=returned))
    skipping = kprobes.register_kprobe(Kprobe("strlen", pre_handler=skip))
    guest.run(instructions=300_001)
    kprobes.unregister(skipping)
    yield guest.instructions, registers(guest), seen
    yield guest.call("strlen", guest.registers.sp), digest(guest)


def watched(guest: Machine) -> Iterator[object]:
    """Breakpoints and watchpoints; going back."""
    guest.breakpoints.add(guest.symbols["kfree"].address)
    assert guest.run().reason is StopReason.BREAKPOINT
    guest.watchpoints.add("write", guest.registers.sp - 64, 64)
    before = guest.snapshot()
    for _ in range(2):
        for _ in range(5):
            stop = guest.run(instructions=1_000_000)
            yield stop.reason, stop.detail, guest.instructions, registers(guest)
        guest.restore(before)


def conditional(guest: Machine) -> Iterator[object]:
    """A function is asked where the C core's program is true: x0 & 0x20, by GDB's numbers of operations."""
    program = Program([Operation(Number.GENERAL, 0), Operation(0x22, 0x20), Operation(0x0F), Operation(0x27)])
    seen = list[int]()

    def decide(core: Core) -> bool:
        seen.append(core.context.x[0])
        return len(seen) % 5 == 0

    guest.conditional_breakpoints.add(guest.symbols["kfree"].address, decide, [program])
    for _ in range(5):
        assert guest.run().reason is StopReason.BREAKPOINT
        yield guest.instructions, registers(guest)
    assert all(x0 & 0x20 for x0 in seen)
    yield seen


@functools.cache
def expected(scenario: Run) -> list[object]:
    return run(scenario)


def run(scenario: Run) -> list[object]:
    guest = machine.load("demo", memory="16M")
    guest.run(until="workload_round")
    return list(scenario(guest))


@pytest.fixture(params=["a copy of the registers", "no function for the flags"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is not found, in machines made from now on."""
    if request.param == "no function for the flags":
        monkeypatch.setattr(native_engine, "_REBUILD", "no_such_function")
    else:
        monkeypatch.setattr(core, "calibrate", lambda model: replace(calibration.calibrate(model), live=None))
    return str(request.param)


@pytest.mark.parametrize("scenario", [slices, probed, watched, conditional], ids=lambda scenario: scenario.__name__)
def test_the_same_run(scenario: Run, without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = run(scenario)
    monkeypatch.undo()
    assert found == expected(scenario)


def test_what_was_not_found_is_not_used(without: str) -> None:
    guest = machine.load("demo", memory="16M")
    native = guest.cores[0].native.state
    assert bool(native.copy) == (without == "a copy of the registers")
    assert native.rebuild == 0
