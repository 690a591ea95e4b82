# SPDX-License-Identifier: GPL-2.0-or-later
"""The common base of kprobes, kretprobes and jprobes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, Self, cast

from armprobe.expressions import program
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.native.histogram import HistogramTrigger
from armprobe.machine.native.program import Program

from .aggregation import Aggregation
from .errors import ProbeError
from .pt_regs import PtRegs
from .record import Hit, Stage
from .recording import Record, Recording

if TYPE_CHECKING:
    from .kprobe import Kprobe
    from .registration import Kprobes


@lazy_dataclass
class DecidingFunction:
    """A condition in Python, with a program of the C core that is 0 only for hits at which `decide` would say no."""

    decide: Callable[[Stage, PtRegs], object]
    program: Program

    def __call__(self, stage: Stage, regs: PtRegs) -> object:
        """Whether the hit is wanted."""
        return self.decide(stage, regs)


Condition = program.Condition | Callable[[Stage, PtRegs], object]
Note = program.Note | Callable[[Stage, PtRegs], str]
Observer = Callable[[Hit], Hit | None]
"""What an event does at a hit that is about to be recorded: it gives the hit to record, or None for no record."""


@lazy_dataclass
class ObservingFunction:
    """An observer in Python, and what it does for the C core.

    C records the hits at which `condition` is not 0, and counts all in the histograms of the `triggers`.
    """

    observe: Observer
    condition: Program
    triggers: Sequence[HistogramTrigger]

    def __call__(self, hit: Hit) -> Hit | None:
        """See `Observer`."""
        return self.observe(hit)


_DATA: Final = {"condition": program.Condition, "note": program.Note}
"""Classes whose values may be data as well as functions."""
_ADDRESSES: Final = 1 << 64
OFFSETS: Final = 1 << 32  # struct kprobe has an unsigned int


_DECIDES: Final = frozenset(
    (
        *("pre_handler", "post_handler", "fault_handler", "handler", "entry_handler"),
        *("record", "stop", "condition", "condition_at", "conditional_handlers", "note", "aggregate", "observer"),
    )
)
"""The attributes that decide what a hit does."""


class Counters(Protocol):
    """What is counted of a probe's hits: those whose handlers ran, those that met its condition, and those missed.

    Of a kretprobe's, `leaked` are the calls that ended without returning.
    """

    hits: int
    met: int
    nmissed: int
    leaked: int


class Counts:
    """Counters that the handling of hits in Python keeps."""

    __slots__ = ("hits", "leaked", "met", "nmissed")

    def __init__(self) -> None:
        self.hits = self.met = self.nmissed = self.leaked = 0


class Stops(set[Stage]):
    """The stages that a probe stops at."""

    def __init__(self, probe: Probe, stages: Iterable[Stage]) -> None:
        super().__init__(stages)
        self._probe = probe

    def add(self, stage: Stage) -> None:
        """See `set`, as of the others."""
        super().add(stage)
        self._probe.review()

    def discard(self, stage: object) -> None:
        super().discard(cast(Stage, stage))
        self._probe.review()

    def remove(self, stage: Stage) -> None:
        super().remove(stage)
        self._probe.review()

    def clear(self) -> None:
        super().clear()
        self._probe.review()

    def update(self, *stages: Iterable[Stage]) -> None:
        super().update(*stages)
        self._probe.review()


class Probe:
    """The base of the three kinds. `kind` is the name of the kind, `stages` the stages of a hit that it can record.

    `kp` is the kprobe in the guest's text. A kretprobe or jprobe has one as a member, and a kprobe is its own. A
    probe's place and whether it is registered, disabled or gone are properties of that kprobe. `hits` counts the hits
    whose handlers ran, and `met` those that met `condition`. `aggregate` counts hits, which are then not recorded.
    """

    kind: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]]
    callables: ClassVar[tuple[str, ...]]
    """The names of the attributes that hold a user's function, or None."""
    kp: Kprobe
    registry: Kprobes | None = None
    """Where it is registered; None if it is not."""

    def __init__(
        self,
        record: bool | Record,
        stop: Iterable[Stage],
        condition: Condition | None,
        note: Note | None,
        aggregate: Aggregation | None = None,
    ) -> None:
        self.counts: Counters = Counts()
        self.record = record if aggregate is None else False
        self.recording: Recording | None = None  # what `record` chooses, once registered
        self.aggregate = aggregate
        self.stop = set(stop)
        self.condition = condition
        self.note = note
        self.observer: Observer | None = None
        self.selected = True  # whether the condition selected the last hit

    def unregister(self) -> None:
        """Take the probe out of the guest. Raises ProbeError (EINVAL) if it is not registered."""
        if self.registry is None:
            raise ProbeError(errno.EINVAL, f"{self.name} is not registered")
        self.registry.unregister(self)

    def __enter__(self) -> Self:
        """A context in which the probe is registered, as it is already."""
        return self

    def __exit__(self, *_: object) -> None:
        if self.registry is not None:
            self.unregister()

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute. What a hit does may depend on it, which the kprobe's site is told."""
        if name == "record" and isinstance(value, Record) and getattr(self, "kp", None) and self.registered:
            raise ProbeError(errno.EBUSY, f"{self.name} is registered: give its Record before that")
        if name == "stop":
            value = Stops(self, cast("set[Stage]", value))
        super().__setattr__(name, value)
        if name == "condition" and value is None:
            self.selected = True
        if name in _DECIDES:
            self.review()

    def review(self) -> None:
        """What a hit does may have changed."""
        kp = getattr(self, "kp", None)  # None while the probe is made
        if kp is not None and kp.site is not None:
            kp.site.review()

    def records(self, stage: Stage) -> bool:
        """Whether hits are recorded at `stage`."""
        return bool(self.record) and (self.recording is None or stage in self.recording.stages)

    @property
    def hits(self) -> int:
        """Hits whose handlers ran."""
        return self.counts.hits

    @hits.setter
    def hits(self, value: int) -> None:
        self.counts.hits = value

    @property
    def met(self) -> int:
        """Hits that met the condition."""
        return self.counts.met

    @met.setter
    def met(self, value: int) -> None:
        self.counts.met = value

    @property
    def nmissed(self) -> int:
        """Hits whose handlers could not run."""
        return self.counts.nmissed

    @nmissed.setter
    def nmissed(self, value: int) -> None:
        self.counts.nmissed = value

    @property
    def symbol_name(self) -> str | None:
        """The symbol that gave the place, or None."""
        return self.kp.symbol_name

    @property
    def addr(self) -> int | None:
        """The address of the instruction, once registered."""
        return self.kp.addr

    @addr.setter
    def addr(self, value: int | None) -> None:
        self.kp.addr = value

    @property
    def offset(self) -> int:
        """Bytes from the symbol."""
        return self.kp.offset

    @property
    def flags(self) -> int:
        """GONE and DISABLED; see `kprobe`."""
        return self.kp.flags

    @flags.setter
    def flags(self, value: int) -> None:
        self.kp.flags = value

    @property
    def gone(self) -> bool:
        """Whether the guest has freed the text with the instruction."""
        return self.kp.gone

    @property
    def disabled(self) -> bool:
        """Whether the probe cannot be hit: disabled, or gone (kprobe_disabled)."""
        return self.kp.disabled

    @property
    def warnings(self) -> list[str]:
        """Problems that the user should know about although the probe was accepted."""
        return self.kp.warnings

    @property
    def registered(self) -> bool:
        """Whether the probe is registered."""
        return self.kp.site is not None

    @property
    def name(self) -> str:
        """The user's name for the place: the symbol (with offset), or the address."""
        kp = self.kp
        if kp.symbol_name is None:
            return "(nowhere)" if kp.addr is None else f"{kp.addr:#x}"
        return f"{kp.symbol_name}+{kp.offset:#x}" if kp.offset else kp.symbol_name

    def validate(self) -> None:
        """Raise ProbeError (EINVAL) for a value that a C compiler would have refused."""
        kp = self.kp
        for name, value, limit in (("addr", kp.addr, _ADDRESSES), ("offset", kp.offset, OFFSETS)):
            if value is None and name == "addr":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise ProbeError(errno.EINVAL, f"{name} is {value!r}: give a number of bytes as an int")
            if not 0 <= value < limit:
                raise ProbeError(errno.EINVAL, f"{name} is {value:#x}: it can be 0 to {limit - 1:#x}")
        symbol: object = kp.symbol_name
        if symbol is not None and not isinstance(symbol, str):
            raise ProbeError(errno.EINVAL, f"symbol_name is {symbol!r}: give the name of a symbol as a str")
        for name in (*self.callables, *_DATA):
            function = getattr(self, name)
            data = _DATA.get(name)
            if function is None or callable(function) or (data is not None and isinstance(function, data)):
                continue
            kinds = "a function" if data is None else f"a function, a {data.__name__} of armprobe.expressions"
            raise ProbeError(errno.EINVAL, f"{name} is {function!r}: give {kinds}, or None")
        if self.aggregate is not None:
            if not isinstance(self.aggregate, Aggregation):
                raise ProbeError(errno.EINVAL, f"aggregate is {self.aggregate!r}: give an Aggregation, or None")
            if isinstance(self.record, Record):
                raise ProbeError(errno.EINVAL, "hits are either counted or recorded: give aggregate or record")
            if self.aggregate.only_of_calls and self.kind != "kretprobe":
                raise ProbeError(errno.EINVAL, f"a {self.kind} sees no return: elapsed and caller need a kretprobe")
        if not isinstance(self.record, bool | Record):
            raise ProbeError(errno.EINVAL, f"record is {self.record!r}: give True, False or a Record")
        strange = [stage for stage in self.stop if stage not in self.stages]
        if strange:
            stages = " or ".join(f"Stage.{stage.name}" for stage in self.stages)
            reason = f"stop has {strange[0]!r}, which is no stage of a {self.kind}: give {stages}"
            raise ProbeError(errno.EINVAL, reason)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} hits={self.hits} nmissed={self.nmissed}>"
