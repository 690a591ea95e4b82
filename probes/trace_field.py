# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields of an event in expressions: values in its record, which is at the address `RECORD`."""

from __future__ import annotations

from armprobe.expressions.typed import Binary, Constant, Convert, Load, Value
from armprobe.expressions.types import U32, U64, Array, Integer, Pointer, Type, named, of_declared
from armprobe.kernel import types as declared
from armprobe.kernel.trace_events import COMMON_FIELDS, TraceEvent, TraceField
from armprobe.machine import MachineError

from .guest_view import RECORD


def field_value(event: TraceEvent, name: str, types: declared.Types) -> Value | None:
    """The value of a field of `event`; None if it has no field of that name. Raises MachineError."""
    field = next((each for each in (*event.fields, *COMMON_FIELDS) if each.name == name), None)
    if field is None:
        return None
    address = Constant(U64, RECORD + field.offset)
    if not field.is_array:
        return _loaded(_number(field), address)
    element = _element(field, types)
    if not field.dynamic:
        array = declared.Array(lambda: element.declared, max(field.size // max(element.size, 1), 1))
        return _loaded(Array(*Array.bits_of(array), element), address)
    start = Binary(U64, "&", Convert(U64, _loaded(U32, address)), Constant(U64, 0xFFFF))
    base = RECORD + (field.offset + field.size if field.dynamic == "rel" else 0)
    return Convert(Pointer.to(element), Binary(U64, "+", start, Constant(U64, base)))


def _loaded(kind: Type, address: Value) -> Value:
    return Load(kind, Convert(Pointer.to(kind), address))


def _number(field: TraceField) -> Type:
    if field.size not in (1, 2, 4, 8):
        raise MachineError(f"{field.name} has {field.size} bytes, which is no number")
    kind = declared.Integer(field.type, field.size, field.signed)
    return Integer(8 * field.size, kind, field.signed)


def _element(field: TraceField, types: declared.Types) -> Type:
    """The type of the elements of an array: the one that the field names, or bytes."""
    text = field.type.removeprefix("__data_loc ").removeprefix("__rel_loc ").partition("[")[0].strip()
    kind = named(text.split())
    if kind is None:
        found = types.known(text)
        kind = None if found is None else of_declared(found)
    if kind is None or not kind.bits:
        kind = named(["u8"])
    assert kind is not None
    return kind
