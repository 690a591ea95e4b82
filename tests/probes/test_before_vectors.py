# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes in code that the kernel executes before it has told the CPU where its vectors are."""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Kprobe, Kprobes, Stage

LENGTH = 200_000
NAMES = [*(f"x{number}" for number in range(31)), "sp", "pc", "pstate"]


@pytest.mark.parametrize("offset", [0, 4])  # ADR, which is simulated, and ADD; MSR VBAR_EL1 comes behind
def test_a_stop_in_the_first_mapped_code(offset: int) -> None:
    plain = machine.load("demo")
    plain.run(instructions=LENGTH)
    demo = machine.load("demo")
    probe = Kprobes(demo).register_kprobe(Kprobe("__primary_switched", offset=offset, stop={Stage.PRE}))
    assert demo.run(instructions=LENGTH).reason is StopReason.PROBE
    assert demo.registers["vbar_el1"] == 0
    address, position = demo.registers.pc, demo.instructions
    assert address == demo.symbols["__primary_switched"].address + offset
    demo.step()
    assert (demo.registers.pc, demo.instructions) == (address + 4, position + 1)
    demo.run(instructions=LENGTH - demo.instructions)
    assert demo.registers.read(NAMES) == plain.registers.read(NAMES)
    assert probe.hits == 1
