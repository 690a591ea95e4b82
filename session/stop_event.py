# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a machine stopped, as a debugger is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from armprobe.machine import Machine, Stop, StopReason, WatchHit
from armprobe.probes import Hit
from armprobe.stub import BreakKind, ProbeHit, StopEvent

_SIGINT, _SIGTRAP, _SIGSEGV, _EXC_BREAKPOINT = 2, 5, 11, 150  # GDB's numbers (gdb/signals.def)
WATCH_KINDS: Final = {BreakKind.WRITE: "write", BreakKind.READ: "read", BreakKind.ACCESS: "access"}
"""What the machine calls them."""


def stop_event(stop: Stop, machine: Machine, breaks: Iterable[tuple[BreakKind, int, int]], stepping: bool) -> StopEvent:
    """What `stop` is to a debugger that has inserted `breaks` (kind, address and length), and steps or not.

    `stepping` is not for a step over the access that a watchpoint stopped before: only SIGTRAP has gdb tell of that.
    """
    match stop.reason:
        case StopReason.BREAKPOINT:
            kinds = {kind for kind, address, _ in breaks if address == stop.address}
            if BreakKind.SOFTWARE in kinds:
                return StopEvent(_SIGTRAP, "breakpoint")
            return StopEvent(_SIGTRAP, "hwbreak" if BreakKind.HARDWARE in kinds else "interrupt")
        case StopReason.WATCHPOINT:
            hit = stop.detail
            assert isinstance(hit, WatchHit)
            kind = next(kind for kind, name in WATCH_KINDS.items() if name == hit.kind)
            return StopEvent(_SIGTRAP, "watchpoint", watch=(kind, hit.address))
        case StopReason.PROBE:
            # While gdb steps, also over a breakpoint before it continues, it takes SIGTRAP for the end of the step
            # and may go on: any other signal stops it.
            signal = _EXC_BREAKPOINT if stepping else _SIGTRAP
            return StopEvent(signal, "probe", text=stop.text, probe=_probe_hit(stop.detail, machine))
        case StopReason.INTERRUPTED:
            return StopEvent(_SIGINT, "interrupt")
        case StopReason.HOST_CALL:
            return StopEvent(_SIGTRAP, "call", call=stop.detail)
        case StopReason.EXIT:
            return StopEvent(0, "exited", exit_code=stop.detail & 0xFF, text=stop.text)
        case StopReason.POWER_OFF | StopReason.RESET if machine.ended:
            return StopEvent(0, "exited", exit_code=0, text=stop.reason.value)
        case StopReason.LOCKUP:
            return StopEvent(_SIGSEGV, "error", text=stop.reason.value)
    return StopEvent(_SIGTRAP, "step")


def _probe_hit(hit: object, machine: Machine) -> ProbeHit | None:
    if not isinstance(hit, Hit):
        return None
    found = machine.symbols.at(hit.address)
    return ProbeHit(hit.probe.kind, hit.probe.name, found[0].name if found else "", hit.stage.value, hit.number)
