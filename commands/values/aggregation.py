# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes have counted."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Location
from .probes import ProbeRow


@dataclass(frozen=True)
class HistogramBucket:
    """The number of values from `low` to `high`, inclusive.

    low, high: None where there is no bound.
    """

    low: int | None
    high: int | None
    count: int


@dataclass(frozen=True)
class CountedKey:
    """What was counted of one key.

    number, comm, caller: the key, as the value of an expression, the name of a task, or the place that a function
    returns to. One of them is not None, or none if hits are counted without a key. count: the number of hits.
    total: the sum of their values, as a signed number of 64 bits; None without values, as average is.
    buckets: the histogram, from the first bucket to the last that is not empty.
    """

    number: int | None
    comm: str | None
    caller: Location | None
    count: int
    total: int | None
    average: int | None
    buckets: tuple[HistogramBucket, ...]


@dataclass(frozen=True)
class Aggregated:
    """What a probe has counted.

    value: whose histogram it is, as the user wrote it; None if hits are only counted. unit: ns, or nothing.
    by: the key, as the user wrote it; None without one. linear: whether the histogram is linear.
    keys: the keys, the most frequent last. capacity: the number of keys that there can be.
    lost: the number of hits whose key came when there were so many.
    failed: the number of hits whose key or value could not be evaluated.
    """

    probe: ProbeRow
    value: str | None
    unit: str
    by: str | None
    linear: bool
    keys: tuple[CountedKey, ...]
    capacity: int
    lost: int
    failed: int


class Aggregates(tuple[Aggregated, ...]):
    """What the probes have counted, each its own."""
