# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes, and what they saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .location import Hex, Location


@dataclass(frozen=True)
class ProbeRow:
    """A probe and its counters.

    number: as commands take it. kind: kprobe, kretprobe or jprobe.
    given: the place as it was given, a symbol or an address. name: the same; for an address, the symbol there.
    hits, nmissed: hits, and hits that were missed, a kretprobe's calls included.
    state: enabled, disabled, or gone with the module that it was in.
    stop: the stages at which the guest stops.
    leaked: calls of a kretprobe that never returned.
    condition, met: the condition as it was written and how often it held; None without one.
    note: what the probe prints, as it was written; None if nothing.
    """

    number: int
    kind: str
    address: Hex
    given: str
    name: str
    hits: int
    nmissed: int
    state: Literal["enabled", "disabled", "gone"]
    stop: tuple[str, ...]
    leaked: int
    condition: str | None
    met: int | None
    note: str | None


class Probes(tuple[ProbeRow, ...]):
    """A list of probes."""


@dataclass(frozen=True)
class Registered:
    """A probe that has been set.

    warnings: what the user should know of it, a sentence each.
    """

    probe: ProbeRow
    location: Location
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """Probes that were refused for one reason.

    error: the name of the kernel's errno. reason: the rule, without the place. count: how many.
    """

    error: str
    reason: str
    count: int


@dataclass(frozen=True)
class RegisteredMatching:
    """The probes that have been set on the functions that a pattern matches.

    kind: kprobe or kretprobe. numbers: of the probes. functions: how many functions match.
    refused: by reason, the most frequent first.
    """

    kind: str
    numbers: tuple[int, ...]
    functions: int
    refused: tuple[Refused, ...]


@dataclass(frozen=True)
class Changed:
    """What has been done to probes. A removed probe has the counters that it had then."""

    done: Literal["enabled", "disabled", "removed"]
    probes: Probes


@dataclass(frozen=True)
class BlacklistedArea:
    """Addresses `start` <= address < `end` on the kernel's blacklist, and the name of the function or section."""

    start: Hex
    end: Hex
    name: str


class Blacklist(tuple[BlacklistedArea, ...]):
    """Where no probe can be."""


@dataclass(frozen=True)
class HitStage:
    """A stage of a hit of a probe.

    kind: kprobe, kretprobe or jprobe. name: of the probe. stage: pre, post, entry or return.
    hit: the number of the hit, from 1.
    """

    kind: str
    name: str
    stage: str
    hit: int


@dataclass(frozen=True)
class Registers:
    """The fields of struct pt_regs. x: x0 to x30."""

    x: tuple[Hex, ...]
    sp: Hex
    pc: Hex
    pstate: Hex
    pc_location: Location
    lr_location: Location


@dataclass(frozen=True)
class StageRegisters:
    """The registers at a stage of a hit."""

    at: HitStage
    registers: Registers


class HitRegisters(tuple[StageRegisters, ...]):
    """The registers at the stages of one hit, in order of time."""


@dataclass(frozen=True)
class TraceEvent:
    """A hit as the kernel's tracer has it.

    seconds: guest time since reset. address: of the probe.
    task, pid: of the guest; None where it is not known which task it was.
    x0: at that stage. note: what the probe's `print` made of the hit; empty without one.
    line: the line of the kernel's trace file.
    """

    at: HitStage
    seconds: float
    address: Hex
    task: str | None
    pid: int | None
    x0: Hex
    note: str
    line: str


class Trace(tuple[TraceEvent, ...]):
    """Hits, in order of time."""
