# SPDX-License-Identifier: GPL-2.0-or-later
"""Saying why the machine stopped (GDB manual, "Stop Reply Packets")."""

import logging

from armprobe.machine.semihosting import FileCall

from .aarch64 import EXPEDITED, RegisterTable
from .target import (
    SIGINT,
    SIGTRAP,
    BreakKind,
    BreakpointHit,
    Exited,
    HistoryEdge,
    Interrupted,
    LibrariesChanged,
    ProbeHit,
    ProbeStop,
    Signalled,
    StopEvent,
    Target,
    WatchKind,
    WatchpointHit,
)
from .wire import of_process, to_hex

log = logging.getLogger("armprobe.stub")

_EXC_BREAKPOINT = 150  # GDB_EXC_BREAKPOINT (gdb/signals.def)
_WATCH_REASONS = {WatchKind.WRITE: b"watch", WatchKind.READ: b"rwatch", WatchKind.ACCESS: b"awatch"}
_BREAK_REASONS = {BreakKind.SOFTWARE: "swbreak", BreakKind.HARDWARE: "hwbreak"}


def encode(
    stop: StopEvent,
    target: Target,
    table: RegisterTable,
    client_words: frozenset[str],
    thread: bytes,
    expedited: bool = True,
) -> bytes:
    """The reply for `stop`, with the reasons the client has said it understands and the registers it needs first.

    `thread` is the id of the thread that has stopped.
    """
    reason = b""
    match stop:
        case Exited():
            return b"W%02x%b" % (stop.code & 0xFF, of_process(client_words))
        case WatchpointHit():
            reason = b"%b:%x;" % (_WATCH_REASONS[stop.kind], stop.address)
        case LibrariesChanged():
            reason = b"library:;"
        case HistoryEdge():
            reason = b"replaylog:begin;"
        case ProbeHit():
            # LLDB shows it as the reason for the stop; gdb passes over what it does not know.
            reason = b"description:%b;" % to_hex(stop.text)
        case BreakpointHit() if (word := _BREAK_REASONS[stop.kind]) in client_words:
            reason = b"%b:;" % word.encode()
    registers = _expedited(target, table) if expedited else b""
    return b"T%02x%bthread:%b;%b" % (_signal(stop) & 0xFF, registers, thread, reason)


def _signal(stop: StopEvent) -> int:
    """GDB's number of the signal that stands for `stop`."""
    match stop:
        case Interrupted():
            return SIGINT
        case Signalled():
            return stop.signal
        case ProbeStop() if stop.stepping:
            # gdb takes SIGTRAP for the end of its step, also of the step over a breakpoint before it continues, and may
            # go on. Any other signal stops it.
            return _EXC_BREAKPOINT
    return SIGTRAP


def request(call: FileCall) -> bytes:
    """What is sent instead where the client is asked for a file (GDB manual, "The F Request Packet")."""
    fields = [b"%x" % each if isinstance(each, int) else b"%x/%x" % each for each in call.arguments]
    return b"F" + b",".join([call.name.encode(), *fields])


def _expedited(target: Target, table: RegisterTable) -> bytes:
    try:
        values = target.read_registers(EXPEDITED)
    except Exception as error:  # the stop itself must be told; the client asks for the registers, and is told then
        log.error("no registers could be read: %s", error)
        return b""
    return table.expedited(values)
