# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed values in a guest's memory, read when they are asked for.

The names and meanings are those of drgn's Object. Members are attributes, so what a value can do besides has a name
that ends with an underscore, which no member's name in a kernel does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, SupportsIndex

from armprobe.machine.errors import MachineError

from .types import Array, Enum, Float, Integer, Member, Pointer, Struct, Type, Types, Void

if TYPE_CHECKING:
    from armprobe.machine.memory.memory import Memory

MOST_ENTRIES: Final = 1_000_000
"""Entries of a list that are read before the list is taken for one without an end."""
_LARGEST: Final = 1 << 20  # bytes that are read at once
_LONGEST_STRING: Final = 4096  # bytes
_ADDRESSES: Final = (1 << 64) - 1
_FLOATS: Final = {4: "<f", 8: "<d"}


class Value:
    """A value of `type_`: in memory at `address_`, or a `number` that was given, such as a register.

    `value.member` and `pointer.member` give members, `value[index]` elements of arrays and of what pointers point to,
    `int(value)` a number, and `str(value)` text as drgn prints it. All raise MachineError, saying why, for memory that
    cannot be read.
    """

    def __init__(
        self,
        memory: Memory,
        types: Types,
        type: Type,
        address: int | None = None,
        number: int | None = None,
        bits: tuple[int, int] | None = None,
    ) -> None:
        self._memory = memory
        self._types = types
        self.type_ = type
        self.address_ = None if address is None else address & _ADDRESSES
        self._number = number
        self._bits = bits  # of a bit field: the first bit, from the address, and the number of bits

    def _at(self, address: int, type: Type) -> Value:
        return Value(self._memory, self._types, type, address)

    def _named(self, type: Type | str) -> Type:
        return self._types.type(type) if isinstance(type, str) else type

    # Numbers

    def value_(self) -> int | float:
        """The number, address or enumerator. Raises MachineError for other types, and where memory is unmapped."""
        kind = self.type_.resolve()
        if isinstance(kind, Float):
            return self._float(kind)
        if not isinstance(kind, Integer | Enum | Pointer):
            raise MachineError(f"a {self.type_} is not a number: name a member or an element")
        signed = not isinstance(kind, Pointer) and kind.signed
        if self._number is not None:
            bits, number = 8 * kind.size, self._number
        elif self._bits is None:
            bits, number = 8 * kind.size, int.from_bytes(self.bytes_(), "little")
        else:
            first, bits = self._bits
            assert self.address_ is not None
            data = self._memory.read(self.address_ + first // 8, (first % 8 + bits + 7) // 8)
            number = int.from_bytes(data, "little") >> first % 8
        number &= (1 << bits) - 1
        return number - (1 << bits) if signed and number >> bits - 1 else number

    def _float(self, kind: Float) -> float:
        if kind.size not in _FLOATS:
            raise MachineError(f"a {self.type_} cannot be read: only floating-point numbers of 4 and 8 bytes can")
        return float(struct.unpack(_FLOATS[kind.size], self.bytes_())[0])

    def bytes_(self) -> bytes:
        """The bytes in memory. Raises MachineError for more than 1 MiB, and where memory is unmapped."""
        return self._memory.read(self._place(), self._limited(self.type_.size))

    def _limited(self, size: int) -> int:
        if size > _LARGEST:
            raise MachineError(f"a {self.type_} has {size:,} bytes: read its members or elements")
        return size

    def _place(self) -> int:
        if self.address_ is None or self._bits is not None:
            raise MachineError(f"this {self.type_} is not in memory by itself, so it has no address")
        return self.address_

    def __index__(self) -> int:
        number = self.value_()
        if isinstance(number, float):
            raise TypeError("a floating-point number is no index")
        return number

    def __int__(self) -> int:
        return int(self.value_())

    def __float__(self) -> float:
        return float(self.value_())

    def __bool__(self) -> bool:
        return bool(self.value_())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Value | int | float):
            return self.value_() == (other.value_() if isinstance(other, Value) else other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.value_())

    def __lt__(self, other: Value | float) -> bool:
        return self.value_() < (other.value_() if isinstance(other, Value) else other)

    def __le__(self, other: Value | float) -> bool:
        return self.value_() <= (other.value_() if isinstance(other, Value) else other)

    def __gt__(self, other: Value | float) -> bool:
        return self.value_() > (other.value_() if isinstance(other, Value) else other)

    def __ge__(self, other: Value | float) -> bool:
        return self.value_() >= (other.value_() if isinstance(other, Value) else other)

    # Members and elements

    def __getattr__(self, name: str) -> Value:
        if name.startswith("__") and name.endswith("__"):  # Python's own, such as __deepcopy__
            raise AttributeError(name)
        try:
            member, start = self._member(name)
        except KeyError:
            raise AttributeError(f"a {self.type_} has no member {name}") from None
        bits = None if member.bit_field_size is None else (member.bit_offset, member.bit_field_size)
        address = start if bits else start + member.offset
        return Value(self._memory, self._types, member.type, address, bits=bits)

    def member_(self, path: str) -> Value:
        """The member at a path such as `thread.cpu_context.pc`. Raises MachineError if there is none."""
        value = self
        for name in path.split("."):
            try:
                value = value.__getattr__(name)
            except AttributeError as error:
                raise MachineError(str(error)) from None
        return value

    def _member(self, name: str) -> tuple[Member, int]:
        """A member and the address of its struct. Raises KeyError if there is none."""
        kind = self.type_.resolve()
        if isinstance(kind, Pointer):
            kind, start = kind.target.resolve(), int(self)
        else:
            start = self._place()
        if not isinstance(kind, Struct):
            raise KeyError(name)
        return kind.members[name], start

    def __getitem__(self, index: SupportsIndex) -> Value:
        number, kind = index.__index__(), self.type_.resolve()
        if isinstance(kind, Pointer):
            start = int(self)
        elif isinstance(kind, Array):
            start = self._place()
            if kind.count is not None and not 0 <= number < kind.count:
                raise IndexError(f"a {self.type_} has no element {number}")
        else:
            raise TypeError(f"a {self.type_} is neither an array nor a pointer")
        return self._at(start + number * kind.target.size, kind.target)

    def __len__(self) -> int:
        kind = self.type_.resolve()
        if not isinstance(kind, Array) or kind.count is None:
            raise TypeError(f"a {self.type_} has no length")
        return kind.count

    def __iter__(self) -> Iterator[Value]:
        return (self[index] for index in range(len(self)))

    def __dir__(self) -> list[str]:
        kind = self.type_.resolve()
        kind = kind.target.resolve() if isinstance(kind, Pointer) else kind
        return [*super().__dir__(), *(kind.members if isinstance(kind, Struct) else ())]

    # Pointers

    def deref_(self) -> Value:
        """What a pointer points to. Raises MachineError for other types and for pointers to void."""
        kind = self.type_.resolve()
        if not isinstance(kind, Pointer):
            raise MachineError(f"a {self.type_} is no pointer")
        if isinstance(kind.target.resolve(), Void):
            raise MachineError("void has no size: convert the pointer to another type")
        return self._at(int(self), kind.target)

    def address_of_(self) -> Value:
        """A pointer to this value. Raises MachineError for a value that is not in memory."""
        return Value(self._memory, self._types, Pointer(lambda: self.type_), number=self._place())

    def cast_(self, type: Type | str) -> Value:
        """The same number, or what is at the same address, as another type. Raises MachineError for unknown types."""
        kind = self._named(type)
        if isinstance(self.type_.resolve(), Integer | Enum | Pointer):
            return Value(self._memory, self._types, kind, number=int(self))
        return self._at(self._place(), kind)

    def container_of_(self, type: Type | str, member: str) -> Value:
        """The struct `type` whose `member` this value is, or is pointed to by this value."""
        kind = self._named(type)
        struct = kind.resolve()
        if not isinstance(struct, Struct):
            raise MachineError(f"a {kind} has no members")
        return self._at(self._pointed() - struct.offset(member), kind)

    def _pointed(self) -> int:
        return int(self) if isinstance(self.type_.resolve(), Pointer) else self._place()

    def string_(self, limit: int = _LONGEST_STRING) -> bytes:
        """The bytes up to a NUL at a pointer or in an array of characters, `limit` at most."""
        kind = self.type_.resolve()
        if isinstance(kind, Pointer):
            return self._memory.read_string(int(self), limit)
        if not isinstance(kind, Array):
            raise MachineError(f"a {self.type_} is no string: only arrays and pointers are")
        if kind.count is None:
            return self._memory.read_string(self._place(), limit)
        return self._memory.read(self._place(), min(self._limited(kind.size), limit)).partition(b"\0")[0]

    # Lists

    def list_(self, type: Type | str, member: str) -> Iterator[Value]:
        """The entries of the list whose head, a `struct list_head`, this value is or points to.

        Each is a `type`, which has the `struct list_head` of the list as its `member`. Raises MachineError for a list
        that does not come back to its head.
        """
        head = self._pointed()
        yield from self._entries(self._at(head, self._types["list_head"]).next, head, type, member)

    def hlist_(self, type: Type | str, member: str) -> Iterator[Value]:
        """The same for a `struct hlist_head`, whose last entry points nowhere."""
        yield from self._entries(self._at(self._pointed(), self._types["hlist_head"]).first, 0, type, member)

    def _entries(self, entry: Value, end: int, type: Type | str, member: str) -> Iterator[Value]:
        seen: set[int] = set()
        while (address := int(entry)) != end:
            if address in seen:
                raise MachineError(f"the list comes back to {address:#x} rather than to its end: it is damaged")
            if len(seen) == MOST_ENTRIES:
                raise MachineError(f"the list has more than {MOST_ENTRIES:,} entries")
            seen.add(address)
            # The address is read before the caller can change the entry.
            following = entry.next.cast_("unsigned long").cast_(entry.type_)
            yield entry.container_of_(type, member)
            entry = following

    def __str__(self) -> str:
        from .value_text import shown

        return shown(self)

    def __repr__(self) -> str:
        where = f"at {self.address_:#x}" if self.address_ is not None else f"{self._number:#x}"
        return f"<Value {self.type_} {where}>"
