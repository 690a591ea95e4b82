# SPDX-License-Identifier: GPL-2.0-or-later
"""A record of an event of the guest's kernel: the values of its fields, by name."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from armprobe.kernel.trace_events import COMMON_FIELDS, TraceEvent, TraceField

HEADER: Final = struct.Struct("<HBBi")
"""struct trace_entry: the event's type, flags, the depth of preemption and migration, and the task's number."""
Content = int | str | bytes
_COMMON: Final = {field.name: field for field in COMMON_FIELDS}


class TraceRecord(Mapping[str, Content]):
    """A record of `event`, `data` as the kernel lays it out.

    Its fields are numbers, texts for arrays of characters, and bytes for other arrays. They are attributes, too.
    `line` and `text` are what the kernel prints of them, which `printed` finds.
    """

    def __init__(
        self, event: TraceEvent, fields: tuple[TraceField, ...], data: bytes, printed: Callable[[TraceRecord], str]
    ) -> None:
        self.event, self.data, self._printed = event, data, printed
        self._fields = {field.name: field for field in fields}
        self._more: dict[str, bytes] = {}

    @property
    def line(self) -> str:
        """What the kernel prints of the record in its trace, which most often begins with the event's name."""
        return self._printed(self)

    @property
    def text(self) -> str:
        """The same without the event's name."""
        return self.line.removeprefix(f"{self.event.name}: ")

    @property
    def preempt_count(self) -> int:
        """The depth of preemption in the low 4 bits, and of migration in those above."""
        return int(HEADER.unpack_from(self.data)[2])

    @property
    def flags(self) -> int:
        """Of enum trace_flag_type (include/linux/trace_events.h)."""
        return int(HEADER.unpack_from(self.data)[1])

    def __getitem__(self, name: str) -> Content:
        if name in self._more:
            return self._more[name]
        field, data = self._fields.get(name) or _COMMON[name], self.bytes_of(name)
        if field.is_text:
            return data.partition(b"\0")[0].decode("utf-8", "replace")
        return data if field.is_array else int.from_bytes(data, "little", signed=field.signed)

    def bytes_of(self, name: str) -> bytes:
        """The bytes of a field, which may be elsewhere in the record."""
        field = self._fields.get(name) or _COMMON[name]
        data = self.data[field.offset : field.offset + field.size]
        if field.dynamic:
            word = int.from_bytes(data, "little")
            start = (word & 0xFFFF) + (field.offset + field.size if field.dynamic == "rel" else 0)
            data = self.data[start : start + (word >> 16)]
        return data

    def with_more(self, name: str, data: bytes) -> TraceRecord:
        """The record, with `data` beside its fields."""
        record = TraceRecord(self.event, tuple(self._fields.values()), self.data, self._printed)
        record._more = {**self._more, name: data}
        return record

    def __getattr__(self, name: str) -> Content:
        if name in self.__dict__.get("_fields", ()):
            return self[name]
        raise AttributeError(f"{self.event.full_name} has no field {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<{self.event.full_name} {' '.join(f'{name}={value!r}' for name, value in self.items())}>"
