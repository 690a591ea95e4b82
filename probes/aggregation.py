# SPDX-License-Identifier: GPL-2.0-or-later
"""Aggregations: probes that count their hits by a key, and the values of hits by size, instead of recording them."""

from __future__ import annotations

import errno
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Memory, Value
from armprobe.expressions.native import compile_text, compile_value
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.native.aggregate import KEY_SIZE, LOG2_BUCKETS, AggregateTable, SavedTable
from armprobe.machine.native.program import Program, Text

from .errors import ProbeError

if TYPE_CHECKING:
    from .probe import Probe

MOST_KEYS: Final = 1 << 16
MOST_BUCKETS: Final = 1024
_MOST_COUNTERS: Final = 1 << 22
"""The most buckets of all keys, of 8 bytes each, in a table that has two rows for each key."""
_SIGN: Final = 1 << 63


class Special(Enum):
    """Keys and values that are no expressions."""

    COMM = "comm"
    CALLER = "caller"
    STACK = "stack"
    ELAPSED = "elapsed"

    def __str__(self) -> str:
        return self.value


@lazy_dataclass
class Linear:
    """A linear histogram of the values from `start` up to `stop`, in buckets of `step` values."""

    start: int
    stop: int
    step: int


@lazy_dataclass
class Bucket:
    """The number of values from `low` to `high`, inclusive; None for no bound."""

    low: int | None
    high: int | None
    count: int


@lazy_dataclass
class Counted:
    """What was counted of a key: a signed number, a text, a stack, or None if all hits have the same.

    A stack is the address that the function returns to, then those that its callers return to. `sum` is that of the
    values, as an s64 that wraps. `buckets` are those from the first to the last that is not empty. `instructions` are
    those that the guest has executed during the calls, if the value is their time, and otherwise 0.
    """

    key: int | str | tuple[int, ...] | None
    count: int
    sum: int
    buckets: tuple[Bucket, ...]
    instructions: int = 0


class Aggregation:
    """Counts hits by `key`. With `value`, also the values by size, in a histogram of powers of two or a linear one.

    Both are evaluated before the instruction of a kprobe, and at the return of a kretprobe. Values are s64. The key may
    also be a text in memory, of which LONGEST_TEXT bytes count, Special.COMM, the name of the task, Special.CALLER, the
    address that the function returns to, or Special.STACK, that and the addresses that its callers return to. The value
    may be Special.ELAPSED for a kretprobe, the guest time of the call in ns. At most `capacity` keys are kept: `lost`
    is the number of hits whose key was another one. `failed` is the number of those whose key or value could not be
    evaluated, or whose call was entered before the machine was put into another state, so that its time is not known. A
    snapshot of the machine has what was counted until then, and restoring it goes back to that. Raises ProbeError
    (EINVAL).
    """

    def __init__(
        self,
        value: Value | Special | None = None,
        key: Value | Memory | Special | None = None,
        linear: Linear | None = None,
        capacity: int = 1024,
    ) -> None:
        if not 1 <= capacity <= MOST_KEYS:
            raise ProbeError(errno.EINVAL, f"a table of {capacity} keys cannot be made: give 1 to {MOST_KEYS}")
        if key is Special.ELAPSED or (isinstance(value, Special) and value is not Special.ELAPSED):
            raise ProbeError(errno.EINVAL, "comm, caller and stack can only be keys, and elapsed can only be the value")
        buckets = 0 if value is None else LOG2_BUCKETS
        if linear is not None:
            if value is None:
                raise ProbeError(errno.EINVAL, "a linear histogram needs a value")
            if not (linear.step > 0 and -_SIGN <= linear.start < linear.stop < _SIGN):
                raise ProbeError(errno.EINVAL, f"{linear} has no buckets: give start < stop and a step above 0")
            buckets = -(-(linear.stop - linear.start) // linear.step) + 2
            if buckets > MOST_BUCKETS:
                raise ProbeError(errno.EINVAL, f"{linear} has {buckets} buckets: {MOST_BUCKETS} can be had at most")
        if capacity * buckets > _MOST_COUNTERS:
            reason = f"{capacity} keys of {buckets} buckets are more than the {_MOST_COUNTERS} buckets there can be"
            raise ProbeError(errno.EINVAL, reason)
        self.value, self.key, self.linear, self.capacity = value, key, linear, capacity
        start, step = (linear.start, linear.step) if linear is not None else (0, 0)
        self.table = AggregateTable(capacity, buckets, start, step, key is Special.STACK or isinstance(key, Memory))
        self.table.structure.by_task = key is Special.COMM
        self.table.structure.by_caller = key is Special.CALLER
        self.table.structure.by_stack = key is Special.STACK
        self.table.structure.elapsed = value is Special.ELAPSED
        self.failed = 0
        self.probe: Probe | None = None  # the one that `Kprobes.on` has made for it

    @cached_property
    def programs(self) -> tuple[Program | None, Program | None]:
        """The programs of the key and the value, which live as long as the table. Raises NeedsPython."""
        key, value = (compile_value(each) if isinstance(each, Value) else None for each in (self.key, self.value))
        return key, value

    @cached_property
    def text(self) -> Text | None:
        """The text that is the key, likewise. Raises NeedsPython."""
        return compile_text(self.key) if isinstance(self.key, Memory) else None

    @property
    def lost(self) -> int:
        """The hits whose key did not fit into the table."""
        return self.table.lost

    @property
    def only_of_calls(self) -> bool:
        """Whether it is for kretprobes only."""
        return self.value is Special.ELAPSED

    def __str__(self) -> str:
        """What is counted, such as "count by caller"."""
        what = "count" if self.value is None else f"hist {self.value}"
        return what if self.key is None else f"{what} by {self.key}"

    def clear(self) -> None:
        """Forget what was counted."""
        self.table.clear()
        self.failed = 0

    def saved(self) -> tuple[int, SavedTable]:
        """What was counted, for `restore`."""
        return self.failed, self.table.saved()

    def restore(self, saved: tuple[int, SavedTable]) -> None:
        """Have counted again what `saved` has."""
        self.failed = saved[0]
        self.table.restore(saved[1])

    def counted(self) -> list[Counted]:
        """What was counted of each key, the most frequent last."""
        rows = [
            Counted(self._key(row.key), row.hits, _signed(row.sum), self._buckets(row.buckets), row.executed)
            for row in self.table.rows()
        ]
        return sorted(rows, key=lambda row: (row.count, str(row.key)))

    def _key(self, key: bytes) -> int | str | tuple[int, ...] | None:
        if self.key is None:
            return None
        if self.key is Special.COMM:
            return key.partition(b"\0")[0].decode("utf-8", "replace")
        number = int.from_bytes(key[:8], "little")
        if isinstance(self.key, Memory):
            return self.table.text(number).decode("utf-8", "replace")
        if self.key is Special.STACK:
            return self.table.stack(number)
        return number if self.key is Special.CALLER else _signed(number)

    def _buckets(self, counts: tuple[int, ...]) -> tuple[Bucket, ...]:
        filled = [index for index, count in enumerate(counts) if count]
        if not filled:
            return ()
        return tuple(Bucket(*self._range(index), counts[index]) for index in range(filled[0], filled[-1] + 1))

    def _range(self, index: int) -> tuple[int | None, int | None]:
        if self.linear is None:
            return (None, -1) if index == 0 else (0, 0) if index == 1 else (1 << index - 2, (1 << index - 1) - 1)
        start, step = self.linear.start, self.linear.step
        last = int(self.table.structure.buckets) - 1
        low = None if index == 0 else start + (index - 1) * step
        return low, None if index == last else start + index * step - 1


def word_key(value: int) -> bytes:
    """The key of a number."""
    return value.to_bytes(KEY_SIZE, "little")


def name_key(comm: bytes) -> bytes:
    """The key of a task's name."""
    return comm.partition(b"\0")[0].ljust(KEY_SIZE, b"\0")


def _signed(value: int) -> int:
    return value - (value & _SIGN) * 2
