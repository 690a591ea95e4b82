# SPDX-License-Identifier: GPL-2.0-or-later
"""The ring of the last hits: its bound, going back, and what can be asked of it."""

from __future__ import annotations

from armprobe.probes import Hit, Kprobe, Kretprobe, Probe, Stage
from armprobe.traces import HitRing

KFREE, KMALLOC = Kprobe("kfree"), Kretprobe("kmalloc")


def stage(probe: Probe, stage: Stage, number: int, instructions: int) -> Hit:
    return Hit(probe, stage, number, instructions, instructions, bytes(33 * 8), 0, None, None)


def ring_of(*hits: Hit) -> HitRing:
    ring = HitRing()
    ring.extend(hits)
    return ring


FIRST = stage(KMALLOC, Stage.ENTRY, 1, 10)
PRE, POST = stage(KFREE, Stage.PRE, 1, 20), stage(KFREE, Stage.POST, 1, 20)
NESTED = stage(KMALLOC, Stage.ENTRY, 2, 30)
RETURNED = stage(KMALLOC, Stage.RETURN, 1, 40)
RING = (FIRST, PRE, POST, NESTED, RETURNED)


def test_the_oldest_stage_makes_room() -> None:
    hits = [stage(KFREE, Stage.PRE, number, number) for number in range(1, 1004)]
    assert list(ring_of(*hits)) == hits[3:]


def test_last_hit() -> None:
    """A stage of another hit may lie between the two of one."""
    ring = ring_of(*RING)
    assert ring.last_hit() == [FIRST, RETURNED]
    assert ring.last_hit([KFREE]) == [PRE, POST]
    assert ring.last_hit([KFREE, KMALLOC]) == [FIRST, RETURNED]
    assert ring.last_hit([Kprobe("kfree")]) == []
    assert HitRing().last_hit() == []


def test_stages_up_to_one() -> None:
    ring = ring_of(*RING)
    assert ring.stages_to(RETURNED) == [FIRST, RETURNED]
    assert HitRing().stages_to(POST) == [POST]  # which the ring may have lost


def test_stages_that_the_kernels_trace_has() -> None:
    assert ring_of(*RING).traced() == [PRE, RETURNED]
