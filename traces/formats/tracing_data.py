# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's tracing data: formats of events and their records, which the files of trace-cmd and perf share.

Each place and kind of probe is an event, with the registers as fields, for filters, and a text, which is what readers
print. It is in the system `kprobes`, or in that of its event of `k.events`. The kernel's own events have the kernel's
formats and records, so readers that know them, such as those of sched_switch, find what they look for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from typing import Final

from armprobe.expressions.errors import printable
from armprobe.kernel import COMMON_FIELDS, TraceField
from armprobe.probes import Hit, TraceRecord
from armprobe.probes.record import REGISTERS
from armprobe.traces.columns import is_traced
from armprobe.traces.trace_lines import has_interrupts_off

from .saved import Saved

_LONGEST_TEXT: Final = 3000  # bytes: an event has to fit into a page
_FIRST_ID: Final = 5000
_SYSTEM: Final = "kprobes"

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
_WORDS: Final = ("__probe_ip", "__probe_ret_ip", "hit", "position", "elapsed_ns", "recorded", "pstate", *REGISTERS)
"""Fields of 64 bits. `recorded` has a bit for each register that is recorded."""
_RECORD: Final = struct.Struct(f"<HBBi{len(_WORDS)}QI")
_FIELDS: Final = (
    *(TraceField(name, "unsigned long", 8 + 8 * place, 8, False) for place, name in enumerate(_WORDS)),
    TraceField("text", "__data_loc char[]", _RECORD.size - 4, 4, True),
)
_PRINT: Final = '"%s", __get_str(text)'
_NUMBER: Final = struct.Struct("<H")  # common_type


def sized(data: bytes, size: str) -> bytes:
    """The data after their size, in the form that `size` names as in struct."""
    return struct.pack(size, len(data)) + data


def beginning(version: bytes) -> bytes:
    """What comes first: the marks of a little-endian machine, and the formats of pages and of entries in them."""
    return (
        b"\x17\x08\x44tracing"
        + version
        + b"\0"
        + struct.pack("<BBI", 0, 8, 4096)  # little-endian, bytes of a long, bytes of a page
        + b"header_page\0"
        + sized(_PAGE_FORMAT, "<Q")
        + b"header_event\0"
        + sized(_EVENT_FORMAT, "<Q")
    )


class RecordedEvents:
    """The hits of `saved` as events.

    `records` has for each its hit, the number of its event, and the record as the kernel would lay it out. `text` gives
    the text of a hit.
    """

    def __init__(self, saved: Saved, text: Callable[[Hit], str]) -> None:
        self._formats: dict[tuple[str, str, str], tuple[int, str]] = {}  # by system, name and kind
        self.records: list[tuple[Hit, int, bytes]] = []
        for hit, elapsed in zip(saved.table.hits, saved.table.elapsed, strict=True):
            if not is_traced(hit):
                continue
            system, name = event_name(saved, hit)
            own = hit.data if isinstance(hit.data, TraceRecord) and not hit.note else None
            key = system, name, hit.probe.kind if own is None else "kernel"
            number = _FIRST_ID + len(self._formats)
            if key not in self._formats:
                fields, shown = (_FIELDS, _PRINT) if own is None else (own.event.fields, own.event.format)
                self._formats[key] = number, _format(name, number, fields, shown)
            number = self._formats[key][0]
            if own is None:
                data = _record(saved, hit, number, elapsed, text(hit))
            else:
                data = _NUMBER.pack(number) + own.data[_NUMBER.size :]
            self.records.append((hit, number, data))

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events."""
        return [number for number, _ in self._formats.values()]

    def formats(self) -> bytes:
        """The formats of ftrace's own events, of which there are none, of these, and of what else there may be."""
        systems: dict[str, list[bytes]] = {}
        for (system, *_), (_, text) in self._formats.items():
            systems.setdefault(system, []).append(sized(text.encode("utf-8", "backslashreplace"), "<Q"))
        data = struct.pack("<II", 0, len(systems))
        for system, formats in systems.items():
            data += system.encode() + b"\0" + struct.pack("<I", len(formats)) + b"".join(formats)
        return data + struct.pack("<II", 0, 0)  # kallsyms, formats of trace_printk


def event_name(saved: Saved, hit: Hit) -> tuple[str, str]:
    """The system and the name of a hit's event, words to a parser of formats."""
    event = saved.table.event(hit)
    if event is not None:
        return event.event.group, event.event.name
    if isinstance(hit.data, TraceRecord):
        return hit.data.event.system, hit.data.event.name
    name = re.sub(r"\W", "_", hit.probe.name, flags=re.ASCII)
    return _SYSTEM, name if not name[:1].isdigit() else f"p_{name}"


def _format(name: str, number: int, fields: Iterable[TraceField], shown: str) -> str:
    """The format file of an event (f_show, kernel/trace/trace_events.c)."""
    common, own = ("".join(map(_line, each)) for each in (COMMON_FIELDS, fields))
    return f"name: {name}\nID: {number}\nformat:\n{common}\n{own}\nprint fmt: {shown}\n"


def _line(field: TraceField) -> str:
    base, bracket, elements = field.type.partition("[")
    declared = f"{base} {field.name}[{elements}" if bracket and not field.dynamic else f"{field.type} {field.name}"
    return f"\tfield:{declared};\toffset:{field.offset};\tsize:{field.size};\tsigned:{field.signed:d};\n"


def _record(saved: Saved, hit: Hit, number: int, elapsed: int | None, text: str) -> bytes:
    shown = printable(text).encode("utf-8", "backslashreplace")[:_LONGEST_TEXT] + b"\0"
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
        len(shown) << 16 | _RECORD.size,  # include/trace/stages/stage1_struct_define.h, __data_loc
    )
    return fixed + shown
