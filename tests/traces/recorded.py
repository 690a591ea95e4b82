# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded hits for tests: those of a run of the demo kernel, with names of tasks that a hostile guest could choose."""

from __future__ import annotations

from armprobe import machine
from armprobe.expressions import Note
from armprobe.kernel.tasks import Task
from armprobe.probes import Kprobe, Kprobes, Kretprobe, Record, Stage
from armprobe.probes.scope import GuestScope

NAMES = (
    'a,b"c',
    "=1+1",
    "two\nlines",
    "\x1b[2J\x07\x9b",
    "</script><b>",
    "ünïcødé\u2028",
    "a;b c",
    "",
    "\\n'{}[]",
    "&lt;",
)
"""Names of tasks (comm has 15 bytes) that mean something to a reader of some format."""


def record() -> Kprobes:
    """A run of the demo kernel with a probe of each kind and a `Record`; its tasks have the names in turn."""
    guest = machine.load("demo")
    kprobes = Kprobes(guest)
    numbers = iter(range(1_000_000))

    def task() -> Task:
        number = next(numbers)
        return Task(NAMES[number % len(NAMES)], number % len(NAMES) + 1)

    kprobes.task = task
    note = Note.compile('"it is \\"%d\\", <b>", $x0', GuestScope(guest, Stage.PRE))
    kprobes.register_kprobe(Kprobe("kfree", note=note))
    kprobes.register_kretprobe(Kretprobe("kmalloc"))
    kprobes.register_kretprobe(Kretprobe("tree_round"))
    kept = Record(
        registers=["x1"], memory={"front": ("x0", 4)}, strings={"text": "x0", "bad": "x0-x0"}, stages=[Stage.PRE]
    )
    kprobes.register_kprobe(Kprobe("tree_visit", record=kept))
    guest.run(instructions=70_000)
    return kprobes


def one_task(graph: str = "") -> Kprobes:
    """A run of the demo kernel as one task, with calls inside a call, and the `graph` of a function's calls."""
    guest = machine.load("demo")
    kprobes = Kprobes(guest)
    kprobes.task = lambda: Task("task;1 x", 7)
    for name in "kmalloc", "tree_round":
        kprobes.register_kretprobe(Kretprobe(name))
    kprobes.register_kprobe(Kprobe("kfree"))
    if graph:
        kprobes.funcgraph(graph, depth=3)
    guest.run(instructions=70_000)
    return kprobes
