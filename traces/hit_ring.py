# SPDX-License-Identifier: GPL-2.0-or-later
"""The last hits of one machine, with queries on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from armprobe.probes import Hit, Kprobes, Probe

    from .columns import HitTable

KEPT: Final = 1000
"""The capacity of the ring at first, in stages of hits."""


_MOST_SHOWN: Final = 40  # rows of the text of a ring


class HitRing(deque["Hit"]):
    """The last stages of hits, oldest first. Adding one to a full ring drops the oldest, which `lost` counts.

    Its text is a table. `kprobes` has the symbols and events that columns are named by.
    """

    def __init__(self, capacity: int = KEPT, kprobes: Kprobes | None = None) -> None:
        super().__init__(maxlen=capacity)
        self.lost = 0
        self.cleared = 0
        """How often the ring was emptied."""
        self._kprobes = kprobes

    def __repr__(self) -> str:
        from .hit_text import hits_text

        if not self:
            return "no hits are recorded"
        shown = f", of which the last {_MOST_SHOWN} are shown" if len(self) > _MOST_SHOWN else ""
        lost = f"; {self.lost:,} before them are lost" if self.lost else ""
        return f"{hits_text(self.table, _MOST_SHOWN)}{len(self):,} stages of hits{shown}{lost}"

    def clear(self) -> None:
        """Remove all stages, without counting them as lost."""
        self.cleared += 1
        super().clear()

    @property
    def table(self) -> HitTable:
        """The stages as columns."""
        from .columns import HitTable

        return HitTable(self, self._kprobes)

    def to_arrow(self) -> pyarrow.Table:
        """The stages as an Arrow table, see `COLUMNS`. Raises TraceError without pyarrow."""
        return self.table.to_arrow()

    def to_pandas(self) -> pandas.DataFrame:
        """The stages as a data frame, see `COLUMNS`. Raises TraceError without pandas and pyarrow."""
        return self.table.to_pandas()

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
        from .columns import is_traced

        return [hit for hit in self if is_traced(hit)]
