# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of hits, and the tracer's line for them (shapes: Documentation/trace/kprobetrace.rst)."""

from __future__ import annotations

import re

import pytest

from armprobe import machine
from armprobe.probes import Hit, Kprobe, Kprobes, Kretprobe, ProbeError, Stage, Task


def test_lines(demo: machine.Machine, kprobes: Kprobes) -> None:
    size = demo.symbols["pcrel_leaf"].size
    kprobes.register_kprobe(Kprobe("pcrel_leaf"))
    kprobes.register_kretprobe(Kretprobe("insn_nop"))
    kprobes.task = lambda: Task("cat", 113)
    before = demo.clock.seconds
    demo.call("pcrel_leaf", 7)
    demo.run(until="insn_nop")
    back = demo.registers.x[30]
    kprobes.task = None
    demo.run(until=back)
    after = demo.clock.seconds
    first = next(hit for hit in kprobes.hits if hit.regs.regs[0] == 7)
    line = kprobes.trace_line(first)
    match = re.fullmatch(r" {13}cat-113     \[000\] d\.\.\.\. +(\d+\.\d{6}): (pcrel_leaf: .*)", line)
    assert match is not None, line
    assert before - 1e-6 <= float(match[1]) <= after
    assert match[2] == f"pcrel_leaf: (pcrel_leaf+0x0/{size:#x}) x0=0x7"
    last = kprobes.hits[-1]
    assert last.stage is Stage.RETURN
    symbol, offset = demo.symbols.at(back) or pytest.fail("no symbol")
    flags = "d...." if last.pstate & 0x80 else "....."
    assert f"<...>-0       [000] {flags} " in kprobes.trace_line(last)
    expected = f"insn_nop: ({symbol.name}+{offset:#x}/{symbol.size:#x} <- insn_nop) a=0x1 b=0x2"
    assert kprobes.trace_line(last, [("a", 1), ("b", 2)]).endswith(expected)


def test_records_cannot_be_changed(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.register_kprobe(Kprobe("insn_nop"))
    demo.call("insn_nop", 7)
    regs = kprobes.hits[0].regs
    with pytest.raises(TypeError):
        regs.regs[0] = 1
    with pytest.raises(ProbeError, match="cannot be changed"):
        regs.pc = 1
    assert (regs.regs[0], regs.argument(0), regs.return_value) == (7, 7, 7)
    with pytest.raises(ProbeError, match="x0 to x7"):
        regs.argument(8)


def test_what_is_not_recorded(demo: machine.Machine, kprobes: Kprobes) -> None:
    told: list[Hit] = []
    kprobes.on_hit = told.append
    silent = kprobes.register_kprobe(Kprobe("insn_nop", record=False))
    probe = kprobes.register_kprobe(Kprobe("pcrel_leaf"))
    demo.call("insn_nop", 7)
    demo.call("pcrel_leaf", 7)
    assert (silent.hits, probe.hits) == (1, 1)
    assert [(hit.probe, hit.stage, hit.number) for hit in kprobes.hits] == [
        (probe, Stage.PRE, 1),
        (probe, Stage.POST, 1),
    ]
    assert told == list(kprobes.hits)
