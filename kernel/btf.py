# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF: the type information that a Linux kernel carries about itself.

BTF (Linux Documentation/bpf/btf.rst) is a header, a section of types, numbered from 1, and a section of strings. It
lies in the kernel's read-only data, also in kernels that have no symbols for it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

from .types import Field, Layout, Struct, Types

if TYPE_CHECKING:
    from armprobe.machine import Machine

_MAGIC: Final = b"\x9f\xeb\x01\x00\x18\x00\x00\x00"  # magic, version, flags, hdr_len of 24
_WITHIN: Final = 64 << 20  # bytes from the start of the kernel that are searched
_LARGEST: Final = 16 << 20  # bytes; Debian's kernels have 5 MB
_LONGEST_NAME: Final = 512  # bytes; the kernel's own limit is 128 (KSYM_NAME_LEN), 512 with Rust
_HEADER: Final = struct.Struct("<8x4I")  # type_off, type_len, str_off, str_len, from the end of the header
_TYPE: Final = struct.Struct("<3I")  # name_off, info, size or type
_STRUCT, _UNION = 4, 5
# Bytes that follow a type, by its kind: for the type, and for each of its members.
_BEHIND: Final = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12)} | {
    17: (4, 0), 19: (0, 12),
}  # fmt: skip
_DAMAGED: Final = "the guest's type information (BTF) is damaged"


class Btf(Types):
    """The types in `data`, which begins with BTF's header. Raises MachineError for other data."""

    def __init__(self, data: bytes) -> None:
        if data[:8] != _MAGIC or len(data) < 24:
            raise MachineError("there is no type information (BTF) in this guest")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(data)
        self._types = memoryview(data)[24 + type_at : 24 + type_at + type_size]
        self._data, self._strings_at, self._end = data, 24 + string_at, 24 + string_at + string_size
        if len(self._types) != type_size or self._end > len(data):
            raise MachineError("the guest's type information (BTF) is cut short")
        self._at = array("I", [0])  # the offset of each type in `_types`
        self._structs = array("I")  # the offsets of structs and unions in `_types`
        self._names = array("I")  # and those of their names
        at = 0
        while at + 12 <= type_size:
            self._at.append(at)
            name, info, _ = _TYPE.unpack_from(self._types, at)
            if info >> 24 & 31 in (_STRUCT, _UNION):
                self._structs.append(at)
                self._names.append(name)
            once, each = _BEHIND.get(info >> 24 & 31, (0, 0))
            at += 12 + once + each * (info & 0xFFFF)

    @staticmethod
    def of(machine: Machine) -> Btf | None:
        """The types of the kernel in `machine`, or None if it has no BTF. Raises MachineError if that is damaged."""
        ram = machine.ram
        start = machine.memory.translate(machine.symbols["_stext"].address).physical - ram.base
        if not 0 <= start < ram.size:
            raise MachineError("the guest's type information cannot be read before the kernel has set its MMU up")
        at = ram.pages.find(_MAGIC, start, start + _WITHIN)
        if at < 0:
            return None
        if at + 24 > ram.size:
            raise MachineError("the guest's type information (BTF) is cut short")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(ram.data, at)
        size = 24 + max(type_at + type_size, string_at + string_size)
        if size > _LARGEST:
            raise MachineError(f"the guest's type information (BTF) has {size:,} bytes, and {_LARGEST:,} are the limit")
        return _of_data(bytes(ram.data[at : at + size]))

    def _find(self, name: str) -> Struct | None:
        # Each string is there once, so names are compared by their offset.
        place = self._data.find(b"\0" + name.encode() + b"\0", self._strings_at, self._end)
        if place < 0:
            return None
        try:
            at = self._structs[self._names.index(place + 1 - self._strings_at)]
        except ValueError:
            return None
        return Struct(name, self.type_at(at)[2], _BtfLayout(self, at))

    def is_struct(self, at: int) -> bool:
        """Whether the type at that offset is a struct or union."""
        return self.type_at(at)[1] >> 24 & 31 in (_STRUCT, _UNION)

    def type_at(self, at: int) -> tuple[int, int, int]:
        """The three words at an offset in the section of types. Raises MachineError outside of it."""
        try:
            name, info, last = _TYPE.unpack_from(self._types, at)
        except struct.error:
            raise MachineError(_DAMAGED) from None
        return name, info, last

    def place_of(self, number: int) -> int:
        """The offset of type `number`. Raises MachineError if there is no such type."""
        if not 0 < number < len(self._at):
            raise MachineError(_DAMAGED)
        return self._at[number]

    def string(self, offset: int) -> str:
        """The string at an offset in the section of strings. Raises MachineError if none can be there."""
        start = self._strings_at + offset
        end = self._data.find(b"\0", start, min(start + _LONGEST_NAME, self._end))
        if end < 0:
            raise MachineError(_DAMAGED)
        return self._data[start:end].decode("utf-8", "replace")


class _BtfLayout(Layout):
    """The struct or union at offset `at` of the types."""

    def __init__(self, types: Btf, at: int) -> None:
        self._types, self._at = types, at

    @property
    def key(self) -> int:
        return self._at

    def fields(self) -> Iterator[Field]:
        types = self._types
        _, info, _ = types.type_at(self._at)
        for index in range(info & 0xFFFF):
            name, kind, offset = types.type_at(self._at + 12 + 12 * index)
            width = None
            if info >> 31:  # the upper 8 bits are the width of a bit field, 0 for other members
                width, offset = offset >> 24 or None, offset & 0xFF_FFFF
            nested = None
            if not name and types.is_struct(inner := types.place_of(kind)):
                nested = _BtfLayout(types, inner)
            yield Field(types.string(name), offset, width, nested)


@lru_cache(maxsize=2)  # a kernel's types take a tenth of a second, and are those of every machine that runs it
def _of_data(data: bytes) -> Btf:
    return Btf(data)
