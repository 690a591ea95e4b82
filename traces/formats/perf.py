# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits for perf: the file perf.data, which `perf script` and `perf report` read, and the lines of `perf script`.

The file is as Documentation/perf.data-file-format.txt in tools/perf of the kernel says, its records as in
include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.probes import Hit, Stage, TraceRecord
from armprobe.probes.record import TICK
from armprobe.traces.columns import is_traced

from .saved import Saved
from .tracing_data import RecordedEvents, beginning, event_name

_TRACING_DATA: Final = beginning(b"0.5")
_HEADER: Final = struct.Struct("<24s10Q")
"""struct perf_file_header: how it begins, three sections, each an offset and a size, and a bit for each feature."""
_SECTION: Final = struct.Struct("<QQ")
_ATTRIBUTES: Final = struct.Struct("<IIQQQQQ16x")
"""struct perf_event_attr, its first version: type, size, config, sample_period, sample_type, read_format, flags."""
_TRACEPOINT: Final = 2  # PERF_TYPE_TRACEPOINT
_SAMPLED: Final = 1 << 1 | 1 << 2 | 1 << 7 | 1 << 10 | 1 << 16  # PERF_SAMPLE_TID, _TIME, _CPU, _RAW, _IDENTIFIER
_ALL_HAVE_ID: Final = 1 << 18  # sample_id_all
_WORD: Final = (1 << 64) - 1
_LOST: Final = 2  # PERF_RECORD_LOST
_COMM: Final = 3  # PERF_RECORD_COMM
_SAMPLE: Final = 9  # PERF_RECORD_SAMPLE
_HAS_TRACING_DATA: Final = 1 << 1  # HEADER_TRACING_DATA
_SCRIPT: Final = re.compile(rb" *\S.* +-?\d+ \[000\] +\d+\.\d{6}: ")
_LONGEST_LINE: Final = 1 << 16
_NO_PID: Final = 0xFFFFFFFF  # as perf has it where no task is known: -1

BEGINNING: Final = struct.pack("<8sQQ", b"PERFILE2", _HEADER.size, _ATTRIBUTES.size + _SECTION.size)
"""That of a header whose attributes have their first size, which no perf of today writes."""


def write_data(saved: Saved, file: BinaryIO) -> None:
    """Write the file perf.data: a tracepoint for each event, and a sample for each hit."""
    events = RecordedEvents(saved, lambda hit: _text(saved, hit))
    numbers = events.numbers
    records = [_lost_record(saved.lost, events.records[0])] if saved.lost and events.records else []
    names: dict[int, str] = {}
    for hit, number, data in events.records:
        if hit.task is not None and names.get(hit.task.pid) != hit.task.comm:
            names[hit.task.pid] = hit.task.comm
            records.append(_comm_record(hit, number))
        records.append(_sample_record(hit, number, data))
    attributes = _HEADER.size + 8 * len(numbers)
    start = attributes + (_ATTRIBUTES.size + _SECTION.size) * len(numbers)
    size = sum(map(len, records))
    sections = (attributes, start - attributes, start, size, 0, 0)
    file.write(_HEADER.pack(BEGINNING, *sections, _HAS_TRACING_DATA, 0, 0, 0))
    file.write(struct.pack(f"<{len(numbers)}Q", *numbers))
    for place, number in enumerate(numbers):
        file.write(_ATTRIBUTES.pack(_TRACEPOINT, _ATTRIBUTES.size, number, 1, _SAMPLED, 0, _ALL_HAVE_ID))
        file.write(_SECTION.pack(_HEADER.size + 8 * place, 8))
    file.writelines(records)
    tracing = _TRACING_DATA + events.formats()
    file.write(_SECTION.pack(start + size + _SECTION.size, len(tracing)) + tracing)


def _sample_record(hit: Hit, number: int, data: bytes) -> bytes:
    raw = data + bytes(-(len(data) + 4) % 8)
    body = struct.pack("<QIIQIII", number, *_numbers(hit), hit.ticks * TICK, 0, 0, len(raw)) + raw
    return _record(_SAMPLE, body)


def _comm_record(hit: Hit, number: int) -> bytes:
    """The name of a hit's task, from the hit on."""
    assert hit.task is not None
    name = printable(hit.task.comm).encode("utf-8", "backslashreplace") + b"\0"
    return _record(_COMM, struct.pack("<II", *_numbers(hit)) + name + bytes(-len(name) % 8) + _identity(hit, number))


def _lost_record(stages: int, first: tuple[Hit, int, bytes]) -> bytes:
    hit, number, _ = first
    return _record(_LOST, struct.pack("<QQ", number, stages) + _identity(hit, number))


def _identity(hit: Hit, number: int) -> bytes:
    """What ends each record that is no sample (struct sample_id): whose and when it is."""
    return struct.pack("<IIQIIQ", *_numbers(hit), hit.ticks * TICK, 0, 0, number)


def _numbers(hit: Hit) -> tuple[int, int]:
    """The numbers of a hit's process and thread. Only that of the thread is known."""
    number = _NO_PID if hit.task is None else hit.task.pid
    return number, number


def _record(kind: int, body: bytes) -> bytes:
    """A record: struct perf_event_header, and what it is of."""
    return struct.pack("<IHH", kind, 0, 8 + len(body)) + body


def write_script(saved: Saved, file: BinaryIO) -> None:
    """Write the lines that `perf script` prints of that file (process_event, tools/perf/builtin-script.c)."""
    hits = [hit for hit in saved.table.hits if is_traced(hit)]
    names = [":".join(event_name(saved, hit)) for hit in hits]
    width = max(map(len, names), default=0)
    for hit, name in zip(hits, names, strict=True):
        comm, pid = (":-1", -1) if hit.task is None else hit.task
        shown = printable(comm).encode("utf-8", "backslashreplace")
        seconds, micro = divmod(hit.ticks * TICK // 1000, 1_000_000)
        line = f" {pid:5} [000] {seconds:5}.{micro:06}: {name:>{width}}: {printable(_text(saved, hit))}\n"
        file.write(shown.rjust(16) + line.encode("utf-8", "backslashreplace"))


def is_script(file: BinaryIO) -> bool:
    """Whether a file begins with such a line: it has no room for a name of its maker's."""
    return bool(_SCRIPT.match(file.readline(_LONGEST_LINE)))


def _text(saved: Saved, hit: Hit) -> str:
    """What the format of the hit's event prints (__set_print_fmt, kernel/trace/trace_probe.c)."""
    if isinstance(hit.data, TraceRecord):
        return hit.note or _record_text(hit.data)
    where = f"{hit.address:x} <- {hit.caller or 0:x}" if hit.stage is Stage.RETURN else f"{hit.address:x}"
    return f"({where}) {saved.table.values(hit)}".rstrip()


def _record_text(record: TraceRecord) -> str:
    """The text of a record of the kernel's. That of a system call is by its format file, not by its own function."""
    if record.event.syscall is None:
        return record.text
    arguments = {name: int(value) & _WORD for name, value in list(record.items())[1:]}  # without the call's number
    if record.event.syscall.enters:  # __set_enter_print_fmt, kernel/trace/trace_syscalls.c
        return ", ".join(f"{name}: 0x{value:08x}" for name, value in arguments.items())
    return f"{arguments['ret']:#x}"
