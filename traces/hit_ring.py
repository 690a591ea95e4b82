# SPDX-License-Identifier: GPL-2.0-or-later
"""The last hits of one machine, with queries on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from armprobe.probes import Hit, Probe
from armprobe.probes.record import TRACED_STAGE

KEPT: Final = 1000
"""The capacity of the ring at first, in stages of hits."""


class HitRing(deque[Hit]):
    """The last stages of hits, oldest first. Adding one to a full ring drops the oldest, which `lost` counts."""

    def __init__(self, capacity: int = KEPT) -> None:
        super().__init__(maxlen=capacity)
        self.lost = 0

    def append(self, hit: Hit) -> None:
        """Add a stage."""
        if len(self) == self.maxlen:
            self.lost += 1
        super().append(hit)

    def last_hit(self, probes: Collection[Probe] | None = None) -> list[Hit]:
        """The stages, oldest first, of the last hit of one of `probes`, by default of any. Empty if there is none."""
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
        """The stages of a hit, oldest first, up to `last`. Earlier ones may have left the ring."""
        return [*(hit for hit in self if (hit.probe, hit.number) == (last.probe, last.number) and hit != last), last]

    def traced(self) -> list[Hit]:
        """The stages that have a line in the kernel's trace file, oldest first."""
        return [hit for hit in self if hit.stage is TRACED_STAGE[hit.probe.kind]]
