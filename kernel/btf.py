# SPDX-License-Identifier: GPL-2.0-or-later
"""Type information that a Linux kernel carries about itself: the sizes of structs and the offsets of members.

BTF (Linux Documentation/bpf/btf.rst) is a header, a section of types, numbered from 1, and a section of strings. It
lies in the kernel's read-only data, also in kernels that have no symbols for it.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

_MAGIC: Final = b"\x9f\xeb\x01\x00\x18\x00\x00\x00"  # magic, version, flags, hdr_len of 24
_WITHIN: Final = 64 << 20  # bytes from the start of the kernel that are searched
_LARGEST: Final = 16 << 20  # bytes; Debian's kernels have 5 MB
_DEEPEST: Final = 32  # nested structs, as in the kernel: MAX_RESOLVE_DEPTH in kernel/bpf/btf.c
_HEADER: Final = struct.Struct("<8x4I")  # type_off, type_len, str_off, str_len, from the end of the header
_TYPE: Final = struct.Struct("<3I")  # name_off, info, size or type
_STRUCT, _UNION = 4, 5
# Bytes that follow a type, by its kind: for the type, and for each of its members.
_BEHIND: Final = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12)} | {
    17: (4, 0), 19: (0, 12),
}  # fmt: skip


class Btf:
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
        self._structs, self._names = (
            array("I"),
            array("I"),
        )  # the structs' offsets in `_types`, and those of their names
        at = 0
        while at + 12 <= type_size:
            self._at.append(at)
            name, info, _ = _TYPE.unpack_from(self._types, at)
            if info >> 24 & 31 == _STRUCT:
                self._structs.append(at)
                self._names.append(name)
            once, each = _BEHIND.get(info >> 24 & 31, (0, 0))
            at += 12 + once + each * (info & 0xFFFF)

    @classmethod
    def of(cls, machine: Machine) -> Btf:
        """The types of the kernel in `machine`. Raises MachineError for a guest that has none."""
        ram = machine.ram
        start = machine.memory.translate(machine.symbols["_stext"].address).physical - ram.base
        at = ram.pages.find(_MAGIC, start, start + _WITHIN)
        if at < 0:
            raise MachineError("there is no type information (BTF) in this guest")
        if at + 24 > ram.size:
            raise MachineError("the guest's type information (BTF) is cut short")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(ram.data, at)
        size = 24 + max(type_at + type_size, string_at + string_size)
        if size > _LARGEST:
            raise MachineError(f"the guest's type information (BTF) has {size:,} bytes, and {_LARGEST:,} are the limit")
        return _of_data(bytes(ram.data[at : at + size]))

    def offset(self, name: str, member: str) -> int:
        """Bytes from the start of `struct name` to `member`, which may be in an anonymous struct or union in it.

        Raises MachineError if there is no such struct, or it has no such member.
        """
        part = self._string(member)
        searched: set[int] = set()  # structs and unions without such a member
        for at in self._named(name) if part else ():
            try:
                found = self._find(at, part, searched)
            except (IndexError, struct.error):
                raise MachineError("the guest's type information (BTF) is damaged") from None
            if found is not None:
                return found // 8
        raise MachineError(f"this kernel's type information has no member {member} in a struct {name}")

    def size(self, name: str) -> int:
        """Bytes of a `struct name`. Raises MachineError if there is no such struct."""
        for at in self._named(name):
            return int(_TYPE.unpack_from(self._types, at)[2])
        raise MachineError(f"this kernel's type information has no struct {name}")

    def _named(self, name: str) -> Iterator[int]:
        """The offsets of the structs called `name`."""
        wanted, at = self._string(name), -1
        with contextlib.suppress(ValueError):  # there are no more
            while wanted:
                at = self._names.index(wanted, at + 1)
                yield self._structs[at]

    def _find(self, at: int, member: int, searched: set[int], depth: int = 0) -> int | None:
        """Bits from the start of the struct or union at `at` to `member`; those in `searched` do not have it."""
        if depth == _DEEPEST:
            raise MachineError(f"the guest's type information (BTF) nests structs more than {_DEEPEST} deep")
        searched.add(at)
        _, info, _ = _TYPE.unpack_from(self._types, at)
        for index in range(info & 0xFFFF):
            name, kind, offset = _TYPE.unpack_from(self._types, at + 12 + 12 * index)
            if info >> 31:  # the upper 8 bits are the width of a bit field
                offset &= 0xFF_FFFF
            if name == member:
                return int(offset)
            inner = self._at[kind]
            nested = not name and _TYPE.unpack_from(self._types, inner)[1] >> 24 & 31 in (_STRUCT, _UNION)
            if nested and inner not in searched:
                found = self._find(inner, member, searched, depth + 1)
                if found is not None:
                    return int(offset) + found
        return None

    def _string(self, text: str) -> int:
        """The offset of `text` among the strings, each of which is there once; 0 if it is not there."""
        at = self._data.find(b"\0" + text.encode() + b"\0", self._strings_at, self._end)
        return 0 if at < 0 else at + 1 - self._strings_at


@lru_cache(maxsize=2)  # a kernel's types take a tenth of a second, and are those of every machine that runs it
def _of_data(data: bytes) -> Btf:
    return Btf(data)
