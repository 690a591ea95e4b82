# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as the file of trace-cmd and KernelShark, trace.dat, version 6 (trace-cmd.dat.v6(5)).

Each place and kind of probe is an event of the system `kprobes`. Its fields are the registers, for filters. Its text is
that of the kernel's trace file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from armprobe.expressions.errors import printable
from armprobe.probes import Hit
from armprobe.probes.record import REGISTERS, TICK
from armprobe.traces.columns import is_traced
from armprobe.traces.trace_line import event_text, has_interrupts_off

from .saved import Saved

_PAGE: Final = 4096
_HEADER: Final = struct.Struct("<QQ")  # of a page: the time, and the bytes that are used
_LOST: Final = 1 << 31 | 1 << 30  # RB_MISSED_EVENTS and RB_MISSED_STORED, kernel/trace/ring_buffer.c
_TIME_EXTEND: Final = 30
_DELTA_BITS: Final = 27
_LONGEST_TEXT: Final = 3000  # bytes: an event has to fit into a page
_FIRST_ID: Final = 5000

_PAGE_FORMAT: Final = b"""\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;
"""
_EVENT_FORMAT: Final = b"""\
# compressed entry header, written by armprobe
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
_FIELDS: Final = (
    ("unsigned short common_type", "H"),
    ("unsigned char common_flags", "B"),
    ("unsigned char common_preempt_count", "B"),
    ("int common_pid", "i"),
    ("unsigned long __probe_ip", "Q"),
    ("unsigned long __probe_ret_ip", "Q"),
    ("unsigned long hit", "Q"),
    ("unsigned long position", "Q"),
    ("unsigned long elapsed_ns", "Q"),
    ("unsigned long recorded", "Q"),  # a bit for each register that is
    ("unsigned long pstate", "Q"),
    *((f"unsigned long {name}", "Q") for name in REGISTERS),
    ("__data_loc char[] text", "I"),
)
_RECORD: Final = struct.Struct("<" + "".join(code for _, code in _FIELDS))


def _sized(data: bytes, size: str) -> bytes:
    return struct.pack(size, len(data)) + data


BEGINNING: Final = (
    b"\x17\x08\x44tracing6\0"
    + struct.pack("<BBI", 0, 8, _PAGE)  # little-endian, bytes of a long
    + b"header_page\0"
    + _sized(_PAGE_FORMAT, "<Q")
    + b"header_event\0"
    + _sized(_EVENT_FORMAT, "<Q")
)


def write(saved: Saved, file: BinaryIO) -> None:
    """Write an event for each hit."""
    events: dict[tuple[str, str], int] = {}
    records: list[tuple[int, bytes]] = []
    names: dict[int, str] = {}
    for hit, elapsed in zip(saved.table.hits, saved.table.elapsed, strict=True):
        if is_traced(hit):
            event = saved.table.event(hit)
            name = hit.probe.name if event is None else event.event.name
            number = events.setdefault((_identifier(name), hit.probe.kind), _FIRST_ID + len(events))
            records.append((hit.ticks * TICK, _record(saved, hit, number, elapsed)))
            if hit.task is not None and hit.task.comm:
                names[hit.task.pid] = hit.task.comm
    pages = list(_pages(records, saved.lost))
    file.write(BEGINNING)
    file.write(struct.pack("<I", 0))  # formats of ftrace's own events
    file.write(struct.pack("<I", 1) + b"kprobes\0" + struct.pack("<I", len(events)))
    for (name, _), number in events.items():
        file.write(_sized(_format(name, number).encode(), "<Q"))
    file.write(struct.pack("<II", 0, 0))  # kallsyms, formats of trace_printk
    commands = "".join(f"{pid} {printable(comm)}\n" for pid, comm in names.items())
    file.write(_sized(commands.encode("utf-8", "backslashreplace"), "<Q"))
    file.write(struct.pack("<I", 1) + b"flyrecord\0")  # CPUs
    start = -(-(file.tell() + 16) // _PAGE) * _PAGE
    file.write(struct.pack("<QQ", start, len(pages) * _PAGE))
    file.write(bytes(start - file.tell()))
    file.writelines(pages)


def _identifier(name: str) -> str:
    """A probe's name as that of an event, which a parser of formats reads as one word."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if not name[:1].isdigit() else f"p_{name}"


def _format(name: str, number: int) -> str:
    lines, offset = [f"name: {name}\nID: {number}\nformat:\n"], 0
    for index, (field, code) in enumerate(_FIELDS):
        size, signed = struct.calcsize(code), int(code == "i" or "[" in field)
        lines.append(f"\tfield:{field};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n")
        lines += ["\n"] if index == 3 else []
        offset += size
    return "".join([*lines, '\nprint fmt: "%s", __get_str(text)\n'])


def _record(saved: Saved, hit: Hit, number: int, elapsed: int | None) -> bytes:
    text = printable(_text(saved, hit)).encode("utf-8", "backslashreplace")[:_LONGEST_TEXT] + b"\0"
    words = hit.words
    fixed = _RECORD.pack(
        number,
        int(has_interrupts_off(saved.kprobes, hit)),  # TRACE_FLAG_IRQS_OFF
        0,
        hit.task.pid if hit.task is not None else 0,
        hit.address,
        hit.caller or 0,
        hit.number,
        hit.instructions,
        elapsed or 0,
        sum(1 << place for place, word in enumerate(words) if word is not None),
        hit.pstate,
        *(word or 0 for word in words),
        len(text) << 16 | _RECORD.size,  # include/trace/stages/stage1_struct_define.h, __data_loc
    )
    return fixed + text


def _text(saved: Saved, hit: Hit) -> str:
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
