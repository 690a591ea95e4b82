# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes and their hits."""

from __future__ import annotations

from typing import Literal, TypeAlias

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Hex, Location


@lazy_dataclass
class ProbeRow:
    """A probe and its counters.

    number: the probe's number in commands. kind: kprobe, kretprobe, jprobe or tracepoint; funccount or funcgraph for
    functions that are watched without probes, whose hits are their calls. The address of a funccount is 0.
    given: the place as the user named it, a symbol or an address. name: the same, or the symbol at that address.
    hits, nmissed: the numbers of hits and of missed hits. Those of a kretprobe include its missed calls.
    state: enabled, disabled, gone with the code that it was on, or pending until its module is loaded. The address of a
    pending one is 0.
    optimized: its hits are recorded without a breakpoint, as all that they do can be done so.
    stop: the stages at which the guest stops.
    leaked: the number of calls of a kretprobe that never returned.
    condition, met: the condition as the user wrote it, and how often it held; None without a condition.
    note: the text after print as the user wrote it; None without one.
    aggregate: what it counts, such as "count by caller"; None if it records its hits instead.
    """

    number: int
    kind: str
    address: Hex
    given: str
    name: str
    hits: int
    nmissed: int
    state: Literal["enabled", "disabled", "gone", "pending"]
    optimized: bool
    stop: tuple[str, ...]
    leaked: int
    condition: str | None
    met: int | None
    note: str | None
    aggregate: str | None


class Probes(tuple[ProbeRow, ...]):
    """A list of probes."""


@lazy_dataclass
class Registered:
    """A probe that was set.

    location: None for a probe that waits for its module.
    warnings: warnings about the probe, a sentence each.
    """

    probe: ProbeRow
    location: Location | None
    warnings: tuple[str, ...]


@lazy_dataclass
class Refused:
    """Probes that were refused for one reason.

    error: the name of the kernel's errno. reason: the rule, without the place. count: the number of these probes.
    """

    error: str
    reason: str
    count: int


@lazy_dataclass
class RegisteredMatching:
    """The probes that were set on the functions that match a pattern, or on the events.

    kind: kprobe, kretprobe or tracepoint. numbers: the probes' numbers. functions: the number of those that match.
    refused: the refusals by reason, the most frequent first.
    """

    kind: str
    numbers: tuple[int, ...]
    functions: int
    refused: tuple[Refused, ...]


@lazy_dataclass
class Changed:
    """A change of probes. A removed probe is shown with its last counters."""

    done: Literal["enabled", "disabled", "removed"]
    probes: Probes


@lazy_dataclass
class BlacklistedArea:
    """Addresses `start` <= address < `end` on the kernel's blacklist, and the name of the function or section."""

    start: Hex
    end: Hex
    name: str


class Blacklist(tuple[BlacklistedArea, ...]):
    """The areas in which the kernel allows no probe."""


@lazy_dataclass
class HitStage:
    """A stage of a hit of a probe.

    kind: kprobe, kretprobe, jprobe or tracepoint. name: the probe's name. stage: pre, post, entry or return.
    hit: the number of the hit, from 1.
    """

    kind: str
    name: str
    stage: str
    hit: int


@lazy_dataclass
class Registers:
    """The fields of struct pt_regs. x: x0 to x30."""

    x: tuple[Hex, ...]
    sp: Hex
    pc: Hex
    pstate: Hex
    pc_location: Location
    lr_location: Location


@lazy_dataclass
class StageRegisters:
    """The registers at a stage of a hit."""

    at: HitStage
    registers: Registers


class HitRegisters(tuple[StageRegisters, ...]):
    """The registers at the stages of one hit, in order of time."""


@lazy_dataclass
class TraceEvent:
    """A hit as the kernel's tracer shows it.

    seconds: guest time since reset. address: the probe's address.
    task, pid: name and number of the guest's task; None if they are not known.
    x0: its value at that stage; None if it is not recorded. note: the line of the probe's `print`; empty without one.
    line: the line in the format of the kernel's trace file. Lines of a stack that a trigger recorded follow it.
    """

    at: HitStage
    seconds: float
    address: Hex
    task: str | None
    pid: int | None
    x0: Hex | None
    note: str
    line: str


class Trace(tuple[TraceEvent, ...]):
    """Hits, in order of time."""


@lazy_dataclass
class FollowsHits:
    """Whether hits are shown as they come."""

    follows: bool


@lazy_dataclass
class SavedHits:
    """A file with the recorded hits.

    format: in words. stages: the number of stages of hits that were kept. lost: the number of those before, which were
    not kept any more.
    """

    file: str
    format: str
    stages: int
    lost: int


@lazy_dataclass
class TraceSize:
    """The ring of recorded hits.

    size: the number of stages that can be kept. kept: the number of those that are. lost: the number of those that had
    to make room.
    """

    size: int
    kept: int
    lost: int


Cell: TypeAlias = int | float | str | bool | None
"""A value in the answer to a query."""


@lazy_dataclass
class QueryAnswer:
    """The answer to a query.

    columns: their names. rows: an array for each row. more: whether there are more rows than these.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    more: bool
