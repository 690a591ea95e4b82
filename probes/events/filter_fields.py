# SPDX-License-Identifier: GPL-2.0-or-later
"""The fields that filters and triggers can name: an event's own, and those that every event has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from armprobe.kernel.trace_events import COMMON_FIELDS

TASK_COMM_LEN = 16


class DeclaredField(Protocol):
    """What is needed of a line of an event's format file."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def signed(self) -> bool: ...


class Kind(Enum):
    """How a filter compares a field (FILTER_* of include/linux/trace_events.h)."""

    OTHER = "number"
    STATIC_STRING = "array of characters"
    DYN_STRING = "string"
    PTR_STRING = "pointer to a string"
    COMM = "task name"
    CPU = "CPU"


class FilterField(NamedTuple):
    """A field: its name, the type as the format has it, its size in bytes, whether it is signed, and its kind."""

    name: str
    type: str
    size: int
    signed: bool
    kind: Kind

    @property
    def is_string(self) -> bool:
        """Whether it is compared with texts only (is_string_field())."""
        return self.kind not in (Kind.OTHER, Kind.CPU)


GENERIC_FIELDS = (  # trace_define_generic_fields() of kernel/trace/trace_events.c
    FilterField("CPU", "int", 0, True, Kind.CPU),
    FilterField("cpu", "int", 0, True, Kind.CPU),
    FilterField("common_cpu", "int", 0, True, Kind.CPU),
    FilterField("COMM", "char *", 0, False, Kind.COMM),
    FilterField("comm", "char *", 0, False, Kind.COMM),
)


def filter_fields(fields: Iterable[DeclaredField]) -> dict[str, FilterField]:
    """Every field that can be named, by name: the event's own `fields` come first (trace_find_event_field())."""
    found: dict[str, FilterField] = {}
    for field in (*map(_declared, fields), *GENERIC_FIELDS, *map(_declared, COMMON_FIELDS)):
        found.setdefault(field.name, field)
    return found


def _declared(field: DeclaredField) -> FilterField:
    return FilterField(field.name, field.type, field.size, field.signed, field_kind(field.type))


def field_kind(type_name: str) -> Kind:
    """The kind of a field by its type (filter_assign_type())."""
    characters = "char" in type_name
    if characters and ("__data_loc" in type_name or "__rel_loc" in type_name):
        return Kind.DYN_STRING
    if characters and "[" in type_name:
        return Kind.STATIC_STRING
    if type_name in ("char *", "const char *"):
        return Kind.PTR_STRING
    return Kind.OTHER


Value = int | bytes | tuple["int | bytes | None", ...] | None
"""Of a field at a hit: a number, a string without its NUL, an array, or None where it could not be read."""

Values = Mapping[str, Value]
"""The values of a hit by field, `comm` (bytes) and `cpu` among them."""


def number_of(field: FilterField, values: Values) -> int:
    """The bytes of a field as one unsigned number of its size, as the kernel reads an array too."""
    value = values.get(field.name)
    if isinstance(value, tuple):
        each = field.size // len(value)
        raw = b"".join(_unsigned(part, each).to_bytes(each, "little") for part in value)
        return int.from_bytes(raw, "little")
    return _unsigned(value, field.size)


def pointed_at(name: str, user: bool) -> str:
    """What the values of a hit have the string by that a pointer to one leads to, in a process if `user`."""
    return f"{name}.ustring" if user else f"{name}.string"


def string_of(field: FilterField, values: Values, user: bool = False) -> bytes:
    """Where a string is stored, with its NUL. Empty where it could not be read. `user` is that of a `Predicate`."""
    if field.kind is Kind.PTR_STRING:
        return _bytes(values.get(pointed_at(field.name, user))) + b"\0"
    if field.kind is Kind.COMM:
        return _bytes(values.get("comm"))[: TASK_COMM_LEN - 1].ljust(TASK_COMM_LEN, b"\0")
    value = values.get(field.name)
    if isinstance(value, tuple):
        value = value[0] if value else None
    if field.kind is Kind.STATIC_STRING:
        return _bytes(value)[: field.size].ljust(field.size, b"\0")
    return b"" if value is None else _bytes(value) + b"\0"


def cpu_of(values: Values) -> int:
    """The number of the CPU of a hit."""
    value = values.get("cpu")
    return value if isinstance(value, int) else 0


def _unsigned(value: object, size: int) -> int:
    return value & ((1 << 8 * size) - 1) if isinstance(value, int) else 0


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
