# SPDX-License-Identifier: GPL-2.0-or-later
"""How probes are named in commands: by number, name, address or pattern, or "all"; and a probe as a row."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from armprobe.probes import FunctionCounts, Kretprobe, Probe, Stage, is_pattern
from armprobe.probes.kprobe import OPTIMIZED

from .errors import CommandError
from .locations import location
from .values import BreakpointRow, ProbeRow

if TYPE_CHECKING:
    from armprobe.session import Session
    from armprobe.session.breakpoints import Breakpoint


def selected(session: Session, word: str) -> list[tuple[int, Probe]]:
    """The probes that `word` names: a number, a name or a pattern (every probe it matches), or "all".

    Raises CommandError if none matches.
    """
    found = [
        (number, probe)
        for number, probe in session.probes.items()
        if word in (str(number), probe.name, f"{probe.addr or 0:#x}", "all")
        or (is_pattern(word) and fnmatch.fnmatchcase(_name(session, probe), word))
    ]
    if not found and word != "all":
        raise CommandError(f"there is no probe {word!r}: probes lists them by number and name")
    return found


def no_number(word: str) -> CommandError:
    """The error for a number, as it was typed, that neither a probe nor a breakpoint has."""
    return CommandError(f"{word} is neither a probe nor a breakpoint: probes and info breakpoints list them")


def watched(session: Session, word: str) -> list[int]:
    """The numbers of the functions that are watched, as `word` names them: a number, what was given, or "all"."""
    watches = session.function_watches.items()
    return [number for number, each in watches if word in (str(number), each.given, "all")]


def watch_row(session: Session, number: int) -> ProbeRow:
    """Functions that are watched, as a row like that of a probe. The hits are the calls."""
    watch = session.function_watches[number]
    if isinstance(watch, FunctionCounts):
        kind, address, hits, what = "funccount", 0, sum(watch.set.calls().values()), "counts"
        functions = len(watch.functions)
    else:
        kind, address, hits, what = "funcgraph", watch.root.address, watch.followed, "shows the calls among"
        functions = watch.functions
    return ProbeRow(
        number=number,
        kind=kind,
        address=address,
        given=watch.given,
        name=watch.given,
        hits=hits,
        nmissed=0 if isinstance(watch, FunctionCounts) else watch.refused,
        state="enabled",
        optimized=True,
        stop=(),
        leaked=0,
        condition=None,
        met=None,
        note=None,
        aggregate=f"{what} {functions:,} function{'' if functions == 1 else 's'}",
    )


def breakpoint_row(session: Session, point: Breakpoint) -> BreakpointRow:
    """The breakpoint as it is now."""
    return BreakpointRow(
        number=point.number,
        kind=point.kind,
        given=point.given,
        location=location(session, point.address),
        size=point.size,
        temporary=point.temporary,
        enabled=point.undo is not None,
        condition=None if point.condition is None else str(point.condition),
        hits=point.hits,
    )


def complete_probe(session: Session, word: str) -> Iterable[str]:
    """Numbers and names of the probes, and numbers of breakpoints."""
    watches = session.function_watches
    numbers = [str(number) for number in (*session.probes, *watches, *session.breakpoints)]
    names = [probe.name for probe in session.probes.values()] + [each.given for each in watches.values()]
    return ["all", *numbers, *names]


def row(session: Session, number: int, probe: Probe) -> ProbeRow:
    """The probe as it is now."""
    condition = str(probe.condition) if probe.condition else None
    return ProbeRow(
        number=number,
        kind=probe.kind,
        address=probe.addr or 0,
        given=probe.name,
        name=_name(session, probe),
        hits=probe.hits,
        nmissed=probe.nmissed + (probe.kp.nmissed if isinstance(probe, Kretprobe) else 0),
        state=_state(session, probe),
        optimized=bool(probe.flags & OPTIMIZED),
        stop=tuple(stage.value for stage in Stage if stage in probe.stop),
        leaked=probe.leaked if isinstance(probe, Kretprobe) else 0,
        condition=condition,
        met=probe.met if condition is not None else None,
        note=str(probe.note) if probe.note else None,
        aggregate=str(probe.aggregate) if probe.aggregate is not None else None,
    )


def _state(session: Session, probe: Probe) -> Literal["enabled", "disabled", "gone", "pending"]:
    if session.module_probes.waits(probe):
        return "pending"
    return "gone" if probe.gone else "disabled" if probe.disabled else "enabled"


def _name(session: Session, probe: Probe) -> str:
    """The symbol as it was given; for a probe that was set by address, the symbol there."""
    return probe.name if probe.symbol_name is not None else session.machine.symbols.describe(probe.addr or 0)
