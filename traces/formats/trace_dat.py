# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as the file of trace-cmd and KernelShark, trace.dat, version 6 (trace-cmd.dat.v6(5)).

The text of an event is that of the kernel's trace file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.probes import Hit, TraceRecord
from armprobe.probes.record import TICK
from armprobe.traces.trace_lines import event_text

from .saved import Saved
from .tracing_data import RecordedEvents, beginning, sized

_PAGE: Final = 4096
_HEADER: Final = struct.Struct("<QQ")  # of a page: the time, and the bytes that are used
_LOST: Final = 1 << 31 | 1 << 30  # RB_MISSED_EVENTS and RB_MISSED_STORED, kernel/trace/ring_buffer.c
_TIME_EXTEND: Final = 30
_DELTA_BITS: Final = 27

BEGINNING: Final = beginning(b"6")


def write(saved: Saved, file: BinaryIO) -> None:
    """Write an event for each hit."""
    events = RecordedEvents(saved, lambda hit: _text(saved, hit))
    names = {hit.task.pid: hit.task.comm for hit, _, _ in events.records if hit.task is not None and hit.task.comm}
    pages = list(_pages(((hit.ticks * TICK, data) for hit, _, data in events.records), saved.lost))
    file.write(BEGINNING + events.formats())
    commands = "".join(f"{pid} {printable(comm)}\n" for pid, comm in names.items())
    file.write(sized(commands.encode("utf-8", "backslashreplace"), "<Q"))
    file.write(struct.pack("<I", 1) + b"flyrecord\0")  # CPUs
    start = -(-(file.tell() + 16) // _PAGE) * _PAGE
    file.write(struct.pack("<QQ", start, len(pages) * _PAGE))
    file.write(bytes(start - file.tell()))
    file.writelines(pages)


def _text(saved: Saved, hit: Hit) -> str:
    if isinstance(hit.data, TraceRecord):
        return hit.note or hit.data.text
    event = saved.table.event(hit)
    return event_text(saved.kprobes, hit, None if event is None else ()) + ("" if event is None else event.text(hit))


def _pages(records: Iterable[tuple[int, bytes]], lost: int) -> Iterator[bytes]:
    """The pages of a ring buffer (include/linux/ring_buffer.h). The first says how many events were lost before it."""
    used, first, last = bytearray(), 0, 0
    for time, record in records:
        data = record + bytes(-len(record) % 4)
        entry = _entry(time - last, data) if used else b""
        if not used or len(used) + len(entry) > _PAGE - _HEADER.size - 8:
            if used:
                yield _page(first, used, lost)
                lost = 0
            used, first = bytearray(), time
            entry = _entry(0, data)
        used += entry
        last = time
    if used:
        yield _page(first, used, lost)


def _entry(delta: int, data: bytes) -> bytes:
    """An event whose length is in a word of its own, which counts itself."""
    extended = b""
    if delta >> _DELTA_BITS:
        low = delta & (1 << _DELTA_BITS) - 1
        extended, delta = struct.pack("<II", low << 5 | _TIME_EXTEND, delta >> _DELTA_BITS), 0
    return extended + struct.pack("<II", delta << 5, len(data) + 4) + data


def _page(time: int, used: bytearray, lost: int) -> bytes:
    flags = _LOST if lost else 0
    count = struct.pack("<Q", lost) if lost else b""
    return (_HEADER.pack(time, len(used) | flags) + used + count).ljust(_PAGE, b"\0")
