# SPDX-License-Identifier: GPL-2.0-or-later
"""The last hits of one machine, and what can be asked of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from armprobe.probes import Hit, Probe
from armprobe.probes.record import TRACED_STAGE

KEPT: Final = 1000
"""Stages of hits."""


class HitRing(deque[Hit]):
    """The last `KEPT` stages of hits, oldest first: a stage that is added drops the oldest one of a full ring."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT)

    def forget_after(self, instructions: int) -> None:
        """The machine has gone back to that count of instructions: drop what has not happened yet."""
        kept = [hit for hit in self if hit.instructions <= instructions]
        self.clear()
        self.extend(kept)

    def last_hit(self, probes: Collection[Probe] | None = None) -> list[Hit]:
        """The stages, oldest first, of the last hit of one of `probes`, by default of any; empty if there is none."""
        last: Hit | None = None
        stages: list[Hit] = []
        for hit in reversed(self):
            if probes is not None and not any(hit.probe is probe for probe in probes):
                continue
            if last is None:
                last = hit
            if hit.probe is last.probe and hit.number == last.number:
                stages.append(hit)
        return stages[::-1]

    def stages_to(self, last: Hit) -> list[Hit]:
        """The stages of a hit, oldest first, up to `last`; those before it as far as they are in the ring."""
        return [*(hit for hit in self if (hit.probe, hit.number) == (last.probe, last.number) and hit != last), last]

    def traced(self) -> list[Hit]:
        """The stages of which the kernel's trace file has a line, oldest first."""
        return [hit for hit in self if hit.stage is TRACED_STAGE[hit.probe.kind]]
