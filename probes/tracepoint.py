# SPDX-License-Identifier: GPL-2.0-or-later
"""A probe on an event of the guest's kernel: a tracepoint, or a system call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from .kprobe import Kprobe
from .probe import Condition, Note, Probe
from .record import Stage

if TYPE_CHECKING:
    from .aggregation import Aggregation
    from .trace_record import TraceRecord

PREFIX: Final = "t:"
"""What the place of a tracepoint begins with in commands, as in bpftrace and bcc."""

Handler = Callable[["Tracepoint", "TraceRecord"], object]


def _unmade(data: bytes) -> TraceRecord:
    raise AssertionError("the event is not registered")


def _nothing() -> None:
    pass


class Tracepoint(Probe):
    """A probe on the event `name`, such as "sched:sched_switch" or "syscalls:sys_enter_openat".

    `handler(p, record)` gets the `TraceRecord` with the event's fields. The guest does not notice: its tracepoint stays
    off, and what its own code would have recorded is found by executing that code beside it. With `record` each event
    is kept in `Kprobes.hits`: the record is the hit's `data`. `condition`, `note`, `stop` and `aggregate` are as for a
    kprobe, but that names of fields stand for their values. `nmissed` counts events whose record could not be made;
    `failure` says why, of the first. The registers of a hit are those at the call of the tracepoint.
    """

    kind = "tracepoint"
    stages = (Stage.PRE,)
    callables = ("handler",)

    def __init__(
        self,
        name: str,
        handler: Handler | None = None,
        *,
        disabled: bool = False,
        record: bool = True,
        stop: Iterable[Stage] = (),
        condition: Condition | None = None,
        note: Note | None = None,
        aggregate: Aggregation | None = None,
    ) -> None:
        self.event_name = name.removeprefix(PREFIX)
        self.kp = Kprobe(PREFIX + self.event_name, disabled=disabled)
        self.kp.owner = self
        self.handler = handler
        self.failure = ""
        self.made: Callable[[bytes], TraceRecord] = _unmade
        """Makes the record of the event of its data."""
        self.reviewed: Callable[[], None] = _nothing
        """Called when what is done at the event may have changed."""
        super().__init__(record, stop, condition, note, aggregate)

    def review(self) -> None:
        """See `Probe.review`."""
        if self.registered:
            self.reviewed()

    @property
    def registered(self) -> bool:
        """Whether the probe is registered."""
        return self.registry is not None
