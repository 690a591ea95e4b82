# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines with optimised probes beside each other, and a hundred made and thrown away."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import Machine
from armprobe.probes import Aggregation, Kprobe, Kprobes, Kretprobe, Record, Stage


class Probed:
    """A guest whose calls are recorded, counted and timed."""

    def __init__(self, place: str = "kmalloc") -> None:
        self.machine: Machine = machine.load("demo", memory="16M")
        self.machine.run(until="workload_round")
        kprobes = self.kprobes = Kprobes(self.machine)
        kprobes.kept = 5000
        record = Record([Stage.PRE], ["x0"], memory={"stack": ("sp", 16)})
        self.probes = [
            kprobes.register_kprobe(Kprobe("kfree", record=record)),
            kprobes.register_kretprobe(Kretprobe(place)),
        ]
        self.tables: list[Aggregation] = [
            kprobes.on(place, key="caller").hist("elapsed"),
            kprobes.on("kfree", key="x0 >> 4").count(capacity=16),
        ]

    def run(self, instructions: int) -> None:
        self.machine.run(instructions=instructions)

    def seen(self) -> tuple[Any, ...]:
        kprobes = self.kprobes
        hits = [(str(h), h.ticks, h.general, h.data) for h in kprobes.hits]
        assert len(hits) > 100
        return hits, [(each.counted(), each.lost, each.failed) for each in self.tables], kprobes.lost


def test_machines_beside_each_other() -> None:
    """Each has seen what it sees alone."""
    places, slice_ = ("kmalloc", "strlen", "kmalloc"), 7_001
    alone = []
    for place in places:
        guest = Probed(place)
        guest.run(10 * slice_)
        alone.append(guest.seen())
    together = [Probed(place) for place in places]
    for _ in range(10):
        for guest in together:
            guest.run(slice_)
    assert [guest.seen() for guest in together] == alone
    assert alone[0] != alone[1]
    del together[0]
    gc.collect()
    for guest in together:
        guest.run(slice_)
        guest.seen()


@pytest.mark.sample(of="tests")
def test_a_hundred_thrown_away() -> None:
    """Nothing is left of one, whether it was stopped in a hit, had calls outstanding, or hits that nobody has seen."""
    sizes, gone, counts = [], [], set()
    for _ in range(10):
        for _ in range(10):
            guest = Probed()
            guest.run(20_000)
            counts.add((guest.machine.instructions, guest.probes[0].hits, guest.tables[0].counted()[0].count))
            gone += [weakref.ref(each) for each in (guest.machine, guest.kprobes, guest.tables[0], guest.probes[1])]
        del guest
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * 4096)
    assert len(counts) == 1
    assert [reference for reference in gone if reference() is not None] == []
    assert max(sizes) - sizes[1] < 64 << 20  # one that is kept has some thirty megabytes
