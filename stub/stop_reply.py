# SPDX-License-Identifier: GPL-2.0-or-later
"""Saying why the machine stopped (GDB manual, "Stop Reply Packets")."""

import logging

from armprobe.machine.semihosting import FileCall

from .aarch64 import RegisterTable
from .target import BreakKind, StopEvent, Target
from .wire import of_process, thread_id, to_hex

log = logging.getLogger("armprobe.stub")

_WATCH_REASONS = {BreakKind.WRITE: b"watch", BreakKind.READ: b"rwatch", BreakKind.ACCESS: b"awatch"}
_BREAK_REASONS = {"breakpoint": "swbreak", "hwbreak": "hwbreak"}


def encode(
    event: StopEvent, target: Target, table: RegisterTable, client_words: frozenset[str], expedited: bool = True
) -> bytes:
    """The reply for `event`, with the reasons the client has said it understands and the registers it needs first."""
    if event.exit_code is not None:
        return b"W%02x%b" % (event.exit_code & 0xFF, of_process(client_words))
    reason = b""
    if event.watch is not None:
        kind, address = event.watch
        reason = b"%b:%x;" % (_WATCH_REASONS[kind], address)
    elif event.probe is not None:
        # LLDB shows it as the reason for the stop; gdb passes over what it does not know.
        reason = b"description:%b;" % to_hex(event.text)
    elif (word := _BREAK_REASONS.get(event.kind)) in client_words:
        reason = b"%b:;" % word.encode()
    registers = _expedited(target, table) if expedited else b""
    return b"T%02x%bthread:%b;%b" % (event.signal & 0xFF, registers, thread_id(client_words), reason)


def request(call: FileCall) -> bytes:
    """What is sent instead where the client is asked for a file (GDB manual, "The F Request Packet")."""
    fields = [b"%x" % each if isinstance(each, int) else b"%x/%x" % each for each in call.arguments]
    return b"F" + b",".join([call.name.encode(), *fields])


def _expedited(target: Target, table: RegisterTable) -> bytes:
    try:
        values = target.read_registers([register.name for _, register in table.expedited])
    except Exception as error:  # the stop itself must be told; the client asks for the registers, and is told then
        log.error("no registers could be read: %s", error)
        return b""
    # At every step: not by way of `pack`, which takes twice as long.
    pairs = zip(table.expedited, values, strict=True)
    return "".join([f"{n:x}:{value.to_bytes(r.size, 'little').hex()};" for (n, r), value in pairs]).encode()
