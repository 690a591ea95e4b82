# SPDX-License-Identifier: GPL-2.0-or-later
"""Translates a machine's stops into the stub's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from armprobe.machine import Machine, Stop, StopReason, WatchHit
from armprobe.probes import Hit
from armprobe.stub import (
    BreakKind,
    BreakpointHit,
    Exited,
    HistoryEdge,
    HostCall,
    Interrupted,
    LibrariesChanged,
    ProbeHit,
    ProbeStop,
    Signalled,
    Stepped,
    StopEvent,
    WatchKind,
    WatchpointHit,
)
from armprobe.stub.target import SIGSEGV

WATCH_KINDS: Final = {WatchKind.WRITE: "write", WatchKind.READ: "read", WatchKind.ACCESS: "access"}
"""The machine's names for the kinds of watchpoints."""


def stop_event(
    stop: Stop, machine: Machine, inserted: Iterable[tuple[BreakKind | WatchKind, int, int]], stepping: bool
) -> StopEvent:
    """The event that tells a debugger about `stop`.

    inserted: its breakpoints and watchpoints, by kind, address and length. stepping: whether the debugger steps, except
    over an access that a watchpoint stopped before: gdb reports the change only after SIGTRAP.
    """
    position = machine.clock.executed
    match stop.reason:
        case StopReason.INSTRUCTIONS:
            return Stepped(position=position)
        case StopReason.BREAKPOINT:
            kinds = {kind for kind, address, _ in inserted if address == stop.address}
            for kind in BreakKind:
                if kind in kinds:
                    return BreakpointHit(position=position, kind=kind)
            return Signalled(position=position)
        case StopReason.WATCHPOINT:
            hit = stop.detail
            assert isinstance(hit, WatchHit)
            watch = next(kind for kind, name in WATCH_KINDS.items() if name == hit.kind)
            return WatchpointHit(position=position, kind=watch, address=hit.address)
        case StopReason.PROBE if isinstance(stop.detail, Hit):
            return _probe_hit(stop, stop.detail, machine, stepping)
        case StopReason.PROBE:
            return ProbeStop(position=position, text=stop.text, stepping=stepping)
        case StopReason.CRASH:
            return Signalled(position=position, text=stop.text)
        case StopReason.INTERRUPTED:
            return Interrupted(position=position)
        case StopReason.HISTORY_START:
            return HistoryEdge(position=position)
        case StopReason.MODULES:
            return LibrariesChanged(position=position)
        case StopReason.HOST_CALL:
            return HostCall(position=position, call=stop.detail)
        case StopReason.EXIT:
            return Exited(position=position, code=stop.detail & 0xFF, text=stop.text)
        case StopReason.POWER_OFF | StopReason.RESET if machine.ended:
            return Exited(position=position, code=0, text=stop.reason.value)
        case StopReason.LOCKUP:
            return Signalled(position=position, text=stop.reason.value, signal=SIGSEGV)
    return Stepped(position=position)


def _probe_hit(stop: Stop, hit: Hit, machine: Machine, stepping: bool) -> ProbeHit:
    found = machine.symbols.at(hit.address)
    return ProbeHit(
        position=machine.instructions,
        text=stop.text,
        kind=hit.probe.kind,
        name=hit.probe.name,
        function=found[0].name if found else "",
        stage=hit.stage.value,
        hit=hit.number,
        stepping=stepping,
    )
