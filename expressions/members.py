# SPDX-License-Identifier: GPL-2.0-or-later
"""Members of structs, and texts in memory, by loads of numbers."""

from __future__ import annotations

from collections.abc import Iterator

from armprobe.kernel import types as declared
from armprobe.machine import MachineError

from .typed import Binary, Constant, Convert, InRegisters, Load, Logical, Register, Value
from .types import S32, U64, Array, Integer, Pointer, Struct, Type, of_declared

_WORD = 64  # bits


def member(struct: Value, name: str) -> Value:
    """The member `name` of a struct in memory or in registers.

    Raises MachineError if it has no such member, or the type information is damaged.
    """
    assert isinstance(struct.type, Struct)
    found = struct.type.layout.member(name)
    kind = of_declared(found.type)
    if isinstance(struct, InRegisters):
        return _in_registers(struct, found, kind)
    assert isinstance(struct, Load)
    if found.bit_field_size is None:
        return Load(kind, _moved(struct.address, found.offset, Pointer.to(kind)))
    return _bit_field(struct.address, found, kind)


def _moved(address: Value, offset: int, kind: Type) -> Value:
    match address:
        case Binary(operator="+", left=start, right=Constant(number=before)):  # that of a struct in a struct
            address, offset = start, before + offset
    return Binary(kind, "+", Convert(U64, address), Constant(U64, offset)) if offset else Convert(kind, address)


def _bit_field(address: Value, found: declared.Member, kind: Type) -> Value:
    """A bit field, from a load of the aligned unit that has it, or of the bytes from its first one on."""
    assert found.bit_field_size is not None
    first, bits = found.bit_offset, found.bit_field_size
    for unit in (8, 16, 32, 64):
        for start in (first // unit * unit, first // 8 * 8):
            if first - start + bits <= unit:
                pointed = Integer(unit, declared.Integer("", unit // 8, False), False)
                loaded = Load(pointed, _moved(address, start // 8, Pointer.to(pointed)))
                return _bits(loaded, first - start, bits, kind)
    raise MachineError(f"the bit field {found.name} extends over more than 8 bytes")


def _in_registers(struct: InRegisters, found: declared.Member, kind: Type) -> Value:
    bit = struct.bit + found.bit_offset
    if isinstance(kind, Struct):
        return InRegisters(kind, struct.first, bit)
    if isinstance(kind, Array):
        raise MachineError(f"{found.name} is an array in registers, which cannot be used")
    bits = found.bit_field_size or kind.bits
    if not bits or bit % _WORD + bits > _WORD:
        raise MachineError(f"{found.name} is not in one register")
    return _bits(Register(U64, struct.first + bit // _WORD), bit % _WORD, bits, kind)


def _bits(word: Value, first: int, bits: int, kind: Type) -> Value:
    """`bits` bits of an unsigned `word` as a `kind`. Few bits are promoted to int (ISO C, 6.3.1.1)."""
    shifted = Binary(U64, ">>", Convert(U64, word), Constant(S32, first)) if first else word
    if bits == kind.bits:
        return Convert(kind, shifted)
    narrow = Convert(Integer(bits, kind.declared, kind.signed), shifted)
    return narrow if bits < S32.bits else Convert(kind, narrow)


def is_text(value: Value, text: bytes) -> Value:
    """Whether the characters that an array has, or that a pointer points to, are `text`, up to a NUL.

    Raises MachineError for a text that the array has no room for.
    """
    assert isinstance(value.type, Array | Pointer)
    text += b"\0"
    room = None
    address = value
    if isinstance(value.type, Array):
        assert isinstance(value, Load)
        address, room = value.address, value.type.size
    if room is not None and len(text) > room:
        raise MachineError(f"a {value.type.declared} has room for {room - 1} characters")
    same: Value | None = None
    for at, size in _pieces(len(text), 1 if room is None else 8):
        kind = Integer(8 * size, declared.Integer("", size, False), False)
        found = Load(kind, _moved(address, at, Pointer.to(kind)))
        number = Constant(kind, int.from_bytes(text[at : at + size], "little"))
        equal = Binary(S32, "==", Convert(U64, found), Convert(U64, number))
        same = equal if same is None else Logical(S32, "&&", same, equal)
    assert same is not None
    return same


def _pieces(length: int, most: int) -> Iterator[tuple[int, int]]:
    """Offsets and sizes of loads that make `length` bytes. Those of a pointer end with its text: of 1 byte each."""
    at = 0
    while at < length:
        size = most
        while size > length - at:
            size //= 2
        yield at, size
        at += size
