# SPDX-License-Identifier: GPL-2.0-or-later
"""What the probes of a machine have recorded and counted at a moment, which goes back when the guest does."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Final, Self

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.native.aggregate import SavedTable
from armprobe.machine.state import Volume

from .aggregation import Aggregation
from .probe import Probe
from .recorder import Kept

_HIT: Final = 700  # bytes of a hit with its registers
_COUNTED: Final = 250  # of the counters of a probe
_REFERENCE: Final = 8  # to a hit
_COUNTERS: Final = "hits", "met", "nmissed", "leaked"
_COUNTED_BY: Final = attrgetter(*_COUNTERS)


@lazy_dataclass
class Observed:
    """The hits that are kept, what is counted by keys, and the counters of each probe."""

    kept: Kept
    counted: dict[Aggregation, tuple[int, SavedTable]]
    counters: dict[Probe, tuple[int, ...]]

    @classmethod
    def of(cls, probes: Collection[Probe], kept: Kept) -> Self:
        """What `probes` have counted now, and the hits `kept`."""
        counted = {each.aggregate: each.aggregate.saved() for each in probes if each.aggregate is not None}
        return cls(kept, counted, {each: _COUNTED_BY(each.counts) for each in probes})

    def volume(self, most: int) -> Volume:
        """The memory that this takes. `most` are the bytes of the guest's memory that a hit has, at most."""
        tables = sum(len(table.rows) + len(table.long_keys) for _, table in self.counted.values())
        hits, size = len(self.kept.hits), _HIT + most
        alone = tables + _COUNTED * len(self.counters) + _REFERENCE * hits
        return Volume(alone, (self.kept.lost + hits) * size, hits * size)

    def put_back(self, probes: Collection[Probe]) -> None:
        """Have `probes` count on from there. One that is not known here has counted nothing."""
        for aggregate in {each.aggregate for each in probes}:
            if aggregate is None:
                continue
            if aggregate in self.counted:
                aggregate.restore(self.counted[aggregate])
            else:
                aggregate.clear()
        for probe in probes:
            for name, value in zip(_COUNTERS, self.counters.get(probe, (0, 0, 0, 0)), strict=True):
                setattr(probe.counts, name, value)
