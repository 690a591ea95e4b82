# SPDX-License-Identifier: GPL-2.0-or-later
"""Reproduces the bug that armprobe grew from, and its fix; see docs/history.md.

The cases do not force any failure. They set probes, let the demo guest run, and print a trace of the CPU.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from armprobe.machine import Machine, Stop, StopReason, load
from armprobe.machine.core.pstate import DAIF, PSTATE_SS
from armprobe.machine.core.software_step import MDSCR_SS
from armprobe.probes import ERAS, Era, Kprobe, Kprobes, Kretprobe, Moment, PtRegs
from armprobe.probes.eras.v5_4 import SLOT_PSTATE_V5_1

from .terminal import Out

_RUN: Final = 2_000_000  # instructions
_SHOWN: Final = 10  # moments

# v5.1 and v5.2, which have no era of their own: v5.4 with one difference.
_V5_1: Final = replace(ERAS["v5.4"], name="v5.1", hits=replace(ERAS["v5.4"].hits, slot_pstate=SLOT_PSTATE_V5_1))


class Outcome(NamedTuple):
    """The result of a case: its end, its moments from the interesting one on, and the probe on kfree."""

    stop: Stop
    moments: list[Moment]
    kfree: Kprobe


class Case(NamedTuple):
    """A case to run. `fails` says that it failed on the kernels of its time."""

    name: str
    title: str
    text: str
    run: Callable[[], Outcome]
    fails: bool


def _observed(machine: Machine, kprobes: Kprobes, kfree: Kprobe, start: str) -> Outcome:
    """Continue the run, and keep moments from the first one whose text contains `start`."""
    moments: list[Moment] = []

    def keep(moment: Moment) -> None:
        if len(moments) < _SHOWN and (moments or start in moment.what):
            moments.append(moment)

    kprobes.on_moment = keep
    return Outcome(machine.run(instructions=_RUN), moments, kfree)


def _booted(era: str | Era, trampoline: str | None = None) -> tuple[Machine, Kprobes, Kprobe]:
    machine = load("demo")
    machine.run(until="workload_run")
    kprobes = Kprobes(machine, era, trampoline=trampoline)
    return machine, kprobes, kprobes.register_kprobe(Kprobe("kfree", record=False))


def _return_frees(trampoline: str) -> Outcome:
    """A kretprobe is unregistered during a call of its function, so return handling calls kfree()."""
    machine, kprobes, kfree = _booted("v4.8", trampoline)
    kretprobe = kprobes.register_kretprobe(Kretprobe("slab_round", record=False))
    machine.run(until="slab_round")
    machine.run(until="kmalloc")  # called by it
    kprobes.unregister(kretprobe)
    return _observed(machine, kprobes, kfree, "kretprobe_trampoline")


def _handler_calls(era: str | Era) -> Outcome:
    """The pre-handler of a kprobe calls a function that has a probe too."""
    machine, kprobes, kfree = _booted(era)

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        machine.call("kfree", 0)

    kprobes.register_kprobe(Kprobe("kmalloc", pre_handler=pre, record=False))
    return _observed(machine, kprobes, kfree, "kmalloc")


CASES: Final = (
    Case(
        "kprobe",
        "v4.8, the trampoline is a NOP with a kprobe on it: before the patch",
        "A kretprobe on slab_round is unregistered during a call of slab_round, and kfree has a kprobe.\n"
        "When slab_round returns, it hits the trampoline's breakpoint, whose handler frees the instance with kfree().",
        lambda: _return_frees("kprobe"),
        fails=True,
    ),
    Case(
        "direct",
        "v4.8, the trampoline saves the registers itself: the patch",
        "The same probes and the same workload.",
        lambda: _return_frees("direct"),
        fails=False,
    ),
    Case(
        "handlers",
        "v4.8, a kprobe handler calls a probed function: the case that the mail says was handled",
        "The pre-handler of a kprobe on kmalloc calls kfree(), which has a kprobe too.",
        lambda: _handler_calls("v4.8"),
        fails=False,
    ),
    Case(
        "mirror",
        "v5.1, the opposite bug: D is cleared for each step, and not set again after a nested one",
        "The same probes. When kfree() has returned to the handler, debug exceptions are no longer masked there.\n"
        "Then the handler enables single-step for kmalloc's slot, and the CPU steps the handler itself.",
        lambda: _handler_calls(_V5_1),
        fails=True,
    ),
    Case(
        "mirror-fixed",
        "v5.4: PSTATE.DAIF is restored (commit b3980e48528c)",
        "The same probes and the same workload.",
        lambda: _handler_calls("v5.4"),
        fails=False,
    ),
)


def run(name: str, out: Out) -> int:
    """Show the case of that name, or "all". Returns the exit status: 0 if each ended as on the kernels of its time."""
    as_told = True
    for case in CASES:
        if name in ("all", case.name):
            outcome = case.run()
            out("\n".join(_report(case, outcome)) + "\n")
            as_told = as_told and _failed(outcome) == case.fails
    return 0 if as_told else 1


def _failed(outcome: Outcome) -> bool:
    return outcome.stop.reason is not StopReason.INSTRUCTIONS


def _report(case: Case, outcome: Outcome) -> list[str]:
    lines = [f"{case.name}: {case.title}", "", *(f"  {line}" for line in case.text.split("\n")), ""]
    lines += _timeline(outcome.moments)
    if _failed(outcome):
        end = textwrap.fill(f"FAILED. {outcome.stop.text}.", 118)
    else:
        kfree = outcome.kfree
        end = f"Clean: {_RUN:,} instructions on, kfree has {kfree.hits:,} hits and {kfree.nmissed:,} missed."
    return [*lines, "", textwrap.indent(end, "  "), ""]


def _timeline(moments: list[Moment]) -> list[str]:
    # DAIF is that of the handler, SPSR that of the interrupted code or the code returned to. D there, and SS of SPSR
    # and MDSCR, decide whether the CPU steps. D is 200 in DAIF.
    head = f"  {'count':>8}  {'what':<74} DAIF  SPSR:DAIF SS  MDSCR.SS  status"
    return [head] + [
        f"  {m.instructions:>8}  {m.what:<74} {m.pstate & DAIF:>4x}  {m.spsr & DAIF:>9x} {bool(m.spsr & PSTATE_SS):>2d}"
        f"  {m.mdscr & MDSCR_SS:>8d}  {m.status.name if m.status else '-'}"
        for m in moments
    ]
