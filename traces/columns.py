# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as columns: the one model from which every file format and every query is made.

A row is a stage of a hit. `COLUMNS` says what the columns are.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armprobe.probes import Hit, Kprobes, Probe, Stage
from armprobe.probes.record import REGISTERS, TICK, TRACED_STAGE

from .libraries import library
from .trace_lines import values_text

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from armprobe.probes.events.event import EventProbe


class Kind(enum.Enum):
    """What a column holds. Any value may be None, if it is not known."""

    NUMBER = "a signed number of 64 bits"
    WORD = "an unsigned number of 64 bits, which people read in hexadecimal"
    TEXT = "text"
    FIELDS = "texts by name"


class Column(NamedTuple):
    """A column. meaning: what is in it, for the documentation."""

    name: str
    kind: Kind
    meaning: str


COLUMNS: Final = (
    Column("position", Kind.NUMBER, "the machine's count of instructions"),
    Column("time_ns", Kind.NUMBER, "guest time since reset, in ns"),
    Column("cpu", Kind.NUMBER, "the CPU"),
    Column("pid", Kind.NUMBER, "number of the guest's task"),
    Column("comm", Kind.TEXT, "name of the guest's task"),
    Column("probe", Kind.TEXT, "the probe's place as its user named it"),
    Column("event", Kind.TEXT, "name of the event of kprobe_events that the probe belongs to"),
    Column("kind", Kind.TEXT, "kprobe, kretprobe or jprobe"),
    Column("stage", Kind.TEXT, "pre or post of a kprobe, entry or return of a kretprobe"),
    Column("hit", Kind.NUMBER, "number of the probe's hit, the same at all of its stages"),
    Column("address", Kind.WORD, "address of the probe"),
    Column("symbol", Kind.TEXT, "the same as a symbol and an offset"),
    Column("caller", Kind.WORD, "address that the function returns to, at the stage return"),
    Column("caller_symbol", Kind.TEXT, "the same as a symbol and an offset"),
    Column("elapsed_ns", Kind.NUMBER, "guest time since the stage entry of the hit, at the stage return, in ns"),
    Column("note", Kind.TEXT, "the line of the probe's print; empty without one"),
    Column(
        "args", Kind.FIELDS, "arguments of the event, or memory (hexadecimal digits) and strings that the probe records"
    ),
    Column("pstate", Kind.WORD, "PSTATE at the stage"),
    *(Column(name, Kind.WORD, f"{name} at the stage; None if it is not recorded") for name in REGISTERS),
)
"""The columns, in order."""


class HitTable:
    """Stages of hits as columns.

    `kprobes`, which has recorded them, names addresses and events. Without it the columns of those are None. Of a
    return whose entry is not among `hits`, the elapsed time is not known.
    """

    def __init__(self, hits: Iterable[Hit], kprobes: Kprobes | None = None) -> None:
        self.hits: Sequence[Hit] = tuple(hits)
        self._kprobes = kprobes

    def event(self, hit: Hit) -> EventProbe | None:
        """The probe of an event that was hit; None for another probe."""
        return None if self._kprobes is None else self._kprobes.events.probe_of(hit)

    def arguments(self, hit: Hit) -> dict[str, str | None]:
        """The column args of a hit."""
        if (event := self.event(hit)) is not None:
            return event.texts(hit)
        return {
            name: value.hex() if isinstance(value, bytes) else None if value is None else str(value)
            for name, value in hit.data.items()
        }

    def values(self, hit: Hit) -> str:
        """The values of a hit as its line in the kernel's trace file has them."""
        event = self.event(hit)
        return values_text(hit, self._kprobes) if event is None else event.text(hit).lstrip()

    @cached_property
    def elapsed(self) -> list[int | None]:
        """The column elapsed_ns."""
        entered: dict[tuple[Probe, int], int] = {}
        found: list[int | None] = []
        for hit in self.hits:
            since = None
            if hit.stage is Stage.ENTRY:
                entered[hit.probe, hit.number] = hit.ticks
            elif hit.stage is Stage.RETURN:
                since = entered.pop((hit.probe, hit.number), None)
            found.append(None if since is None else (hit.ticks - since) * TICK)
        return found

    @cached_property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows, each with a value for each of `COLUMNS`."""
        named = cache(self._kprobes.machine.symbols.describe) if self._kprobes is not None else lambda address: None
        return [self._row(hit, elapsed, named) for hit, elapsed in zip(self.hits, self.elapsed, strict=True)]

    def _row(self, hit: Hit, elapsed: int | None, named: Any) -> tuple[Any, ...]:
        event = self.event(hit)
        comm, pid = hit.task or (None, None)
        return (
            hit.instructions,
            hit.ticks * TICK,
            0,  # the machine has one CPU
            pid,
            comm,
            hit.probe.name,
            None if event is None else event.event.name,
            hit.probe.kind,
            hit.stage.value,
            hit.number,
            hit.address,
            named(hit.address),
            hit.caller,
            None if hit.caller is None else named(hit.caller),
            elapsed,
            hit.note,
            self.arguments(hit),
            hit.pstate,
            *hit.words,
        )

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The values of each column, by its name."""
        by_column = zip(*self.rows, strict=True) if self.rows else ((),) * len(COLUMNS)
        return {column.name: list(values) for column, values in zip(COLUMNS, by_column, strict=True)}

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, by the columns' names."""
        names = [column.name for column in COLUMNS]
        return (dict(zip(names, row, strict=True)) for row in self.rows)

    def to_arrow(self) -> pyarrow.Table:
        """The columns as an Arrow table. Raises TraceError without pyarrow."""
        arrow = library("pyarrow", "an Arrow table of hits")
        kinds = {
            Kind.NUMBER: arrow.int64(),
            Kind.WORD: arrow.uint64(),
            Kind.TEXT: arrow.string(),
            Kind.FIELDS: arrow.map_(arrow.string(), arrow.string()),
        }
        columns = self.columns
        columns["args"] = [list(fields.items()) for fields in columns["args"]]
        return arrow.table({c.name: arrow.array(columns[c.name], kinds[c.kind]) for c in COLUMNS})

    def to_pandas(self) -> pandas.DataFrame:
        """The columns as a data frame. Raises TraceError without pandas and pyarrow.

        Columns of numbers have pandas' types that allow for missing values, or 64 bits would become a float's 53.
        """
        pandas = library("pandas", "a data frame of hits")
        arrow = library("pyarrow", "a data frame of hits")
        kinds = {arrow.int64(): pandas.Int64Dtype(), arrow.uint64(): pandas.UInt64Dtype()}
        return self.to_arrow().to_pandas(types_mapper=kinds.get, maps_as_pydicts="strict")


def is_traced(hit: Hit) -> bool:
    """Whether a stage is the one of its hit that has a line in the kernel's trace file."""
    return hit.stage is TRACED_STAGE[hit.probe.kind]
