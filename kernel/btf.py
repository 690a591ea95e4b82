# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF: the type information that a Linux kernel carries about itself.

BTF (Linux Documentation/bpf/btf.rst) is a header, a section of types, numbered from 1, and a section of strings. It
lies in the kernel's read-only data, also in kernels that have no symbols for it.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .btf_kinds import (
    ARRAY,
    CONST,
    ENUM,
    ENUM64,
    FLOAT,
    FORWARD,
    FUNCTION,
    INT,
    MAGIC,
    POINTER,
    PROTOTYPE,
    RESTRICT,
    SECTION,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VARIABLE,
    VOLATILE,
)
from .types import (
    DEEPEST,
    Array,
    Enum,
    Field,
    Float,
    Function,
    Integer,
    Layout,
    Parameter,
    Pointer,
    Qualified,
    Struct,
    Type,
    Typedef,
    Types,
    Void,
    too_deep,
)

if TYPE_CHECKING:
    from armprobe.machine import Machine

_WITHIN: Final = 64 << 20  # bytes from the start of the kernel that are searched
_LARGEST: Final = 16 << 20  # bytes; Debian's kernels have 5 MB
_LONGEST_NAME: Final = 512  # bytes; the kernel's own limit is 128 (KSYM_NAME_LEN), 512 with Rust
_HEADER: Final = struct.Struct("<8x4I")  # type_off, type_len, str_off, str_len, from the end of the header
_LARGEST_NUMBER: Final = 16  # bytes of an integer
_TYPE: Final = struct.Struct("<3I")  # name_off, info, size or type
_KINDS: Final = {
    **{"struct": (STRUCT, UNION), "enum": (ENUM, ENUM64), "typedef": (TYPEDEF,)},
    **{"integer": (INT, FLOAT), "function": (FUNCTION,), "variable": (VARIABLE,)},
}
_QUALIFIERS: Final = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
_SIGNED: Final = 1  # in an integer's encoding
_PER_CPU: Final = ".data..percpu"
# Bytes that follow a type, by its kind: for the type, and for each of its members.
_BEHIND: Final = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12)} | {
    17: (4, 0), 19: (0, 12),
}  # fmt: skip
_DAMAGED: Final = "the guest's type information (BTF) is damaged"


@lazy_dataclass
class PerCpu:
    """A per-CPU variable: its place in each CPU's area, in bytes from the symbol __per_cpu_start, and its type."""

    offset: int
    type: Type


class Btf(Types):
    """The types in `data`, which begins with BTF's header. Raises MachineError for other data.

    Split BTF continues the numbers of types and the strings of a `base` (Linux Documentation/bpf/btf.rst). A type of
    its own comes before one of the same name in the base.
    """

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        if data[:8] != MAGIC or len(data) < 24:
            raise MachineError("there is no type information (BTF) in this guest")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(data)
        self._types = memoryview(data)[24 + type_at : 24 + type_at + type_size]
        self._data = data
        self._strings_at: int = 24 + string_at
        self._end: int = self._strings_at + string_size
        if len(self._types) != type_size or self._end > len(data):
            raise MachineError("the guest's type information (BTF) is cut short")
        self._base = base
        self._at = array("I", [0])  # the offset of each type in `_types`; number 0 is void, or the base's last one
        self._before = 0 if base is None else base.last  # types
        self._types_before = 0 if base is None else base.types_end  # bytes
        self._strings_before = 0 if base is None else base.strings_end
        # By the kind of type: the numbers of its types, and the offsets of their names.
        self._numbers = [array("I") for _ in range(32)]
        self._names = [array("I") for _ in range(32)]
        self._read: dict[int, Type] = {}  # the types that were asked for, by their numbers
        at = 0
        while at + 12 <= type_size:
            name, info, _ = _TYPE.unpack_from(self._types, at)
            self._numbers[info >> 24 & 31].append(self._before + len(self._at))
            self._names[info >> 24 & 31].append(name)
            self._at.append(at)
            once, each = _BEHIND.get(info >> 24 & 31, (0, 0))
            at += 12 + once + each * (info & 0xFFFF)
        self.is_whole = at <= type_size
        """Whether the last type is all in `data`."""

    @property
    def sections(self) -> tuple[memoryview, memoryview]:
        """The section of types and the section of strings."""
        return self._types, memoryview(self._data)[self._strings_at : self._end]

    @property
    def offsets(self) -> array[int]:
        """The offset of each type in the section of types, by its number; in split BTF less those before it.

        The first one is void's, which is not there.
        """
        return self._at

    @property
    def last(self) -> int:
        """The number of the last type."""
        return self._before + len(self._at) - 1

    @property
    def types_end(self) -> int:
        """Bytes of all types, those of the base included."""
        return self._types_before + len(self._types)

    @property
    def strings_end(self) -> int:
        """Bytes of all strings, those of the base included."""
        return self._strings_before + self._end - self._strings_at

    @staticmethod
    def of(machine: Machine) -> Btf | None:
        """The types of the kernel in `machine`, or None if it has no BTF. Raises MachineError if that is damaged."""
        ram = machine.ram
        start = machine.memory.translate(machine.symbols["_stext"].address).physical - ram.base
        if not 0 <= start < ram.size:
            raise MachineError("the guest's type information cannot be read before the kernel has set its MMU up")
        at = ram.pages.find(MAGIC, start, start + _WITHIN)
        if at < 0:
            return None
        return Btf.at(ram.data, at)

    @staticmethod
    def at(data: bytes | memoryview, at: int) -> Btf:
        """The types that begin at offset `at` of `data`. Raises MachineError when they are damaged."""
        if at + 24 > len(data):
            raise MachineError("the guest's type information (BTF) is cut short")
        type_at, type_size, string_at, string_size = _HEADER.unpack_from(data, at)
        size = 24 + max(type_at + type_size, string_at + string_size)
        if size > _LARGEST:
            raise MachineError(f"the guest's type information (BTF) has {size:,} bytes, and {_LARGEST:,} are the limit")
        return _of_data(bytes(data[at : at + size]))

    def _find(self, name: str, kind: str) -> Type | None:
        for place in self._places_of(name):
            if kind == "enumerator":
                found = self._enum_with(place)
            elif kind == "function" and self._is_ambiguous(place):
                return None
            else:
                found = self._with_name(place, kind)
            if found is not None:
                return found
        return None if self._base is None else self._base.find(name, kind)

    def _places_of(self, name: str) -> list[int]:
        """The offsets that the string `name` may have. Names are compared by these, as each string is there once."""
        text = b"\0" + name.encode() + b"\0"
        places = [] if self._base is None else self._base._places_of(name)
        own = self._data.find(text, self._strings_at, self._end)
        # A section that continues another one need not begin with the empty string.
        if own < 0 and self._base is not None and self._data.startswith(text[1:], self._strings_at, self._end):
            own = self._strings_at - 1
        return places if own < 0 else [*places, own + 1 - self._strings_at + self._strings_before]

    def _with_name(self, name: int, kind: str) -> Type | None:
        found = []
        for each in _KINDS[kind]:
            with contextlib.suppress(ValueError):
                found.append(self._numbers[each][self._names[each].index(name)])
        return self.read_type(min(found)) if found else None

    def _enum_with(self, name: int) -> Type | None:
        """The first enumeration with an enumerator whose name is at that offset of the strings."""
        for kind in (ENUM, ENUM64):
            each = _BEHIND[kind][1]
            for number in self._numbers[kind]:
                at = self._at[number - self._before]
                count = int(_TYPE.unpack_from(self._types, at)[1]) & 0xFFFF
                names = self._types[at + 12 : at + 12 + each * count].cast("I")[:: each // 4]
                if name in names:
                    return self.read_type(number)
        return None

    def _is_ambiguous(self, name: int) -> bool:
        """Whether there are functions of that name with different prototypes.

        They are static, and BTF does not say which of them a symbol is, as compilers inline some.
        """
        rows = zip(self._numbers[FUNCTION], self._names[FUNCTION], strict=True)
        return len({self.type_at(self.place_of(number))[2] for number, named in rows if named == name}) > 1

    def read_type(self, number: int) -> Type:
        """The type of that number. Raises MachineError for damaged type information."""
        if self._base is not None and number <= self._before:
            return self._base.read_type(number)
        if (found := self._read.get(number)) is None:
            found = self._read[number] = self._make(number)
        return found

    def _make(self, number: int) -> Type:
        for _ in range(DEEPEST):
            if number == 0:
                return Void()
            at = self.place_of(number)
            name, info, last = self.type_at(at)
            kind = info >> 24 & 31
            if kind not in (TYPE_TAG, FUNCTION, VARIABLE):  # these add nothing to the type that they refer to
                break
            number = last
        else:
            raise too_deep()
        target = partial(self.read_type, last)
        if kind == INT:
            (encoding,) = struct.unpack("<I", self._part(at + 12, 4))
            return Integer(self.string(name), _sized(last), bool(encoding >> 24 & _SIGNED))
        if kind == FLOAT:
            return Float(self.string(name), _sized(last), True)
        if kind == POINTER:
            return Pointer(target)
        if kind == ARRAY:
            element, _, count = self.type_at(at + 12)
            # BTF has 0 for int a[0], and for int a[], which is the usual one.
            return Array(partial(self.read_type, element), count or None)
        if kind in (STRUCT, UNION):
            return Struct(self.string(name), last, _BtfLayout(self, at), "union" if kind == UNION else "struct")
        if kind == FORWARD:
            return Struct(self.string(name), 0, None, "union" if info >> 31 else "struct")
        if kind in (ENUM, ENUM64):
            return self._enum(at, 12 if kind == ENUM64 else 8)
        if kind == TYPEDEF:
            return Typedef(self.string(name), target)
        if kind in _QUALIFIERS:
            return Qualified(_QUALIFIERS[kind], target)
        if kind == PROTOTYPE:  # "..." is a last parameter without name and type
            count = info & 0xFFFF
            variadic = count > 0 and bytes(self._part(at + 12 + 8 * (count - 1), 8)) == bytes(8)
            return Function(target, partial(self._parameters, at + 12, count - variadic), variadic)
        raise MachineError(_DAMAGED)

    def _enum(self, at: int, each: int) -> Enum:
        """An enumeration whose enumerators have `each` bytes: 8, or 12 with numbers of 64 bits."""
        name, info, size = self.type_at(at)
        data, numbers = self._part(at + 12, each * (info & 0xFFFF)), {}
        for start in range(0, len(data), each):
            (label,) = struct.unpack_from("<I", data, start)
            number = int.from_bytes(data[start + 4 : start + each], "little", signed=bool(info >> 31))
            numbers[self.string(label)] = number
        return Enum(self.string(name), _sized(size), bool(info >> 31), numbers)

    def _parameters(self, at: int, count: int) -> list[Parameter]:
        words = struct.iter_unpack("<2I", self._part(at, 8 * count))
        return [Parameter(self.string(name), self.read_type(kind)) for name, kind in words]

    @cached_property
    def per_cpu(self) -> Mapping[str, PerCpu]:
        """The kernel's per-CPU variables by name. Raises MachineError for damaged type information."""
        found: dict[str, PerCpu] = {}
        for number in self._numbers[SECTION]:
            at = self.place_of(number)
            name, info, _ = self.type_at(at)
            if self.string(name) != _PER_CPU:
                continue
            for index in range(info & 0xFFFF):
                variable, offset, _ = self.type_at(at + 12 + 12 * index)
                label, kind, target = self.type_at(self.place_of(variable))
                if kind >> 24 & 31 != VARIABLE:
                    raise MachineError(_DAMAGED)
                found[self.string(label)] = PerCpu(offset, self.read_type(target))
        return found

    def number_of(self, type: Type) -> int | None:
        """The number of a type that was read from here; None for others."""
        return next((number for number, each in self._read.items() if each is type), None)

    def _part(self, at: int, size: int) -> memoryview:
        if self._base is not None and at < self._types_before:
            return self._base._part(at, size)
        at -= self._types_before
        if at + size > len(self._types):
            raise MachineError(_DAMAGED)
        return self._types[at : at + size]

    def is_struct(self, at: int) -> bool:
        """Whether the type at that offset is a struct or union."""
        return self.type_at(at)[1] >> 24 & 31 in (STRUCT, UNION)

    def type_at(self, at: int) -> tuple[int, int, int]:
        """The three words at an offset in the section of types. Raises MachineError outside of it."""
        if self._base is not None and at < self._types_before:
            return self._base.type_at(at)
        try:
            name, info, last = _TYPE.unpack_from(self._types, at - self._types_before)
        except struct.error:
            raise MachineError(_DAMAGED) from None
        return name, info, last

    def place_of(self, number: int) -> int:
        """The offset of type `number`. Raises MachineError if there is no such type."""
        if self._base is not None and number <= self._before:
            return self._base.place_of(number)
        if not 0 < number - self._before < len(self._at):
            raise MachineError(_DAMAGED)
        return self._at[number - self._before] + self._types_before

    def part(self, number: int) -> memoryview:
        """All of type `number`, its members included. Raises MachineError if there is no such type."""
        at = self.place_of(number)
        return self._part(at, (self.place_of(number + 1) if number < self.last else self.types_end) - at)

    def string(self, offset: int) -> str:
        """The string at an offset in the section of strings. Raises MachineError if none can be there."""
        if self._base is not None and offset < self._strings_before:
            return self._base.string(offset)
        start = self._strings_at + offset - self._strings_before
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
            yield Field(types.string(name), offset, width, nested, partial(types.read_type, kind))


def _sized(size: int) -> int:
    if not 0 < size <= _LARGEST_NUMBER:
        raise MachineError(_DAMAGED)
    return size


@lru_cache(maxsize=2)  # a kernel's types take a tenth of a second, and are those of every machine that runs it
def _of_data(data: bytes) -> Btf:
    return Btf(data)
