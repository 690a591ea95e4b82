# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the members of a Linux guest's structs are, from the type information that a kernel carries about itself.

BTF (Linux Documentation/bpf/btf.rst) is a header, a section of types, numbered from 1, and a section of strings. It
lies in the kernel's read-only data, whether the kernel has symbols for it or not.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

_MAGIC: Final = b"\x9f\xeb\x01\x00\x18\x00\x00\x00"  # magic, version, flags, hdr_len of 24
_WITHIN: Final = 64 << 20  # bytes from the start of the kernel
_LARGEST: Final = 16 << 20  # bytes; of Debian's kernels it is 5 MB
_DEEPEST: Final = 32  # structs in one another, as in the kernel: MAX_RESOLVE_DEPTH in its kernel/bpf/btf.c
_HEADER: Final = struct.Struct("<8x4I")  # type_off, type_len, str_off, str_len, from the end of the header
_TYPE: Final = struct.Struct("<3I")  # name_off, info, size or type
_STRUCT, _UNION = 4, 5
# Bytes behind a type, for each kind: so many, and so many for each of its members.
_BEHIND: Final = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12)} | {
    17: (4, 0), 19: (0, 12),
}  # fmt: skip


class Btf:
    """The types in `data`, which begins with BTF's header. Raises MachineError if it is none."""

    def __init__(self, data: bytes) -> None:
        if data[:8] != _MAGIC or len(data) < 24:
            raise MachineError("there is no type information (BTF) in this guest")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(data)
        self._types = memoryview(data)[24 + type_at : 24 + type_at + type_size]
        self._data, self._strings_at, self._end = data, 24 + string_at, 24 + string_at + string_size
        if len(self._types) != type_size or self._end > len(data):
            raise MachineError("the guest's type information (BTF) is cut short")
        self._at = array("I", [0])  # where each type is
        at = 0
        while at + 12 <= type_size:
            self._at.append(at)
            _, info, _ = _TYPE.unpack_from(self._types, at)
            once, each = _BEHIND.get(info >> 24 & 31, (0, 0))
            at += 12 + once + each * (info & 0xFFFF)

    @classmethod
    def of(cls, machine: Machine) -> Btf:
        """Those of a kernel that is in memory. Raises MachineError for a guest that has none."""
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
        return cls(bytes(ram.data[at : at + size]))

    def offset(self, name: str, member: str) -> int:
        """Bytes from the start of `struct name` to `member`, which may be in a nameless part of it.

        Raises MachineError if there is no such struct, or it has no such member.
        """
        part = self._string(member)
        searched: set[int] = set()  # what has not got it, once for all of them
        for at in self._structs(name) if part else ():
            try:
                found = self._find(at, part, searched)
            except (IndexError, struct.error):
                raise MachineError("the guest's type information (BTF) makes no sense") from None
            if found is not None:
                return found // 8
        raise MachineError(f"this kernel's type information has no member {member} in a struct {name}")

    def size(self, name: str) -> int:
        """Bytes of a `struct name`. Raises MachineError if there is no such struct."""
        for at in self._structs(name):
            return int(_TYPE.unpack_from(self._types, at)[2])
        raise MachineError(f"this kernel's type information has no struct {name}")

    def _structs(self, name: str) -> Iterator[int]:
        """Where structs called `name` are."""
        wanted = self._string(name)
        for at in self._at[1:] if wanted else ():
            own, info, _ = _TYPE.unpack_from(self._types, at)
            if own == wanted and info >> 24 & 31 == _STRUCT:
                yield at

    def _find(self, at: int, member: int, searched: set[int], depth: int = 0) -> int | None:
        """Bits from the start of the struct or union at `at` to `member`. What is in `searched` has not got it."""
        if depth == _DEEPEST:
            raise MachineError("the structs in the guest's type information (BTF) are in one another too deep")
        searched.add(at)
        _, info, _ = _TYPE.unpack_from(self._types, at)
        for index in range(info & 0xFFFF):
            name, kind, offset = _TYPE.unpack_from(self._types, at + 12 + 12 * index)
            if info >> 31:  # the upper bits say how wide a bit field is
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
        """Where `text` is among the strings, of which none is there twice; 0 if it is not."""
        at = self._data.find(b"\0" + text.encode() + b"\0", self._strings_at, self._end)
        return 0 if at < 0 else at + 1 - self._strings_at
