# SPDX-License-Identifier: GPL-2.0-or-later
"""What the probes of a machine have recorded and counted at a moment, which goes back when the guest does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

from .aggregation import Aggregation
from .probe import Probe
from .recorder import Kept

_COUNTERS: Final = "hits", "met", "nmissed", "leaked"


@dataclass(frozen=True)
class Observed:
    """The hits that are kept, what is counted by keys, and the counters of each probe."""

    kept: Kept
    counted: dict[Aggregation, tuple[int, bytes]]
    counters: dict[Probe, tuple[int, ...]]

    @classmethod
    def of(cls, probes: Collection[Probe], kept: Kept) -> Self:
        """What `probes` have counted now, and the hits `kept`."""
        counted = {each.aggregate: each.aggregate.saved() for each in probes if each.aggregate is not None}
        return cls(kept, counted, {each: tuple(getattr(each.counts, name) for name in _COUNTERS) for each in probes})

    def put_back(self, probes: Collection[Probe]) -> None:
        """Have `probes` count on from there. One that is not known here has counted nothing."""
        for aggregate in {each.aggregate for each in probes}:
            if aggregate is not None:
                aggregate.restore(self.counted.get(aggregate, (0, b"")))
        for probe in probes:
            for name, value in zip(_COUNTERS, self.counters.get(probe, (0, 0, 0, 0)), strict=True):
                setattr(probe.counts, name, value)
