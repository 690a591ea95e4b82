# SPDX-License-Identifier: GPL-2.0-or-later
"""Members of structs in a kernel's memory, which can say anything: all that is read for one answer is counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

from .types import Enum, Integer, Pointer

if TYPE_CHECKING:
    from armprobe.machine import Machine

    from .types import Types

_MOST: Final = 40_000  # reads for one answer, some tenths of a second
_ADDRESSES: Final = (1 << 64) - 1
_LONGEST: Final = 4096  # bytes of a text: PATH_MAX

Places = dict[tuple[str, str], tuple[int, int, int, bool]]


class Structs:
    """Reads members by the name of their struct and path. All methods raise MachineError, saying why."""

    def __init__(self, machine: Machine, types: Types, places: Places) -> None:
        """`places` keeps what the types of this kernel say of members, from one answer to the next."""
        self._memory, self._types, self._places = machine.memory, types, places
        self._left = _MOST

    def offset(self, struct: str, path: str) -> int:
        """Bytes from the start of a struct to a member."""
        return self._place(struct, path)[0] // 8

    def has(self, struct: str, member: str) -> bool:
        """Whether this kernel's struct has the member."""
        if (struct, member) in self._places:
            return True
        return struct in self._types and member in self._types[struct].members

    def size(self, struct: str) -> int:
        """Bytes of a struct."""
        return self._types[struct].size

    def has_constant(self, name: str) -> bool:
        """Whether an enumeration of this kernel has the constant."""
        return self._types.enumerator(name) is not None

    def constant(self, name: str) -> int:
        """The number of an enumeration's constant."""
        found = self._types.enumerator(name)
        if found is None:
            raise MachineError(f"this kernel's type information has no constant {name}")
        return found[1]

    def number(self, address: int, struct: str, path: str) -> int:
        """A member that is a number or a pointer of the struct at `address`."""
        bit, bits, size, signed = self._place(struct, path)
        self.spend()
        data = self._memory.read(address + bit // 8 & _ADDRESSES, size)
        value = int.from_bytes(data, "little") >> bit % 8 & (1 << bits) - 1
        return value - (1 << bits) if signed and value >> bits - 1 else value

    def u64(self, address: int) -> int:
        """64 bits at an address."""
        self.spend()
        return self._memory.u64(address & _ADDRESSES)

    def u32(self, address: int) -> int:
        """32 bits at an address."""
        self.spend()
        return self._memory.u32(address & _ADDRESSES)

    def string(self, address: int, limit: int = _LONGEST) -> str:
        """The text at an address, up to its NUL."""
        self.spend(1 + limit // 256)
        return self._memory.read_string(address & _ADDRESSES, limit).decode("utf-8", "surrogateescape")

    def list(self, head: int, struct: str, member: str) -> Iterator[int]:
        """The addresses of the entries of a list with its head at `head`, which are linked by their `member`."""
        at = self.offset(struct, member)
        entry, seen = self.u64(head), {head}
        while entry != head:
            if entry in seen:
                raise MachineError(f"a list of {struct} leads in a circle at {entry:#x}")
            seen.add(entry)
            yield entry - at & _ADDRESSES
            entry = self.u64(entry)

    def spend(self, count: int = 1) -> None:
        """Count reads."""
        self._left -= count
        if self._left < 0:
            raise MachineError("there is more of it than can be, or it is damaged")

    def _place(self, struct: str, path: str) -> tuple[int, int, int, bool]:
        """The first bit of a member, its bits, the bytes that have it, and whether it is signed."""
        if (known := self._places.get((struct, path))) is None:
            member = self._types[struct].member(path)
            kind = member.type.resolve()
            plain = isinstance(kind, Integer | Enum | Pointer) and kind.size <= 8
            bits = member.bit_field_size or (8 * kind.size if plain else 0)
            signed = isinstance(kind, Integer | Enum) and kind.signed
            first = member.bit_offset
            known = first, bits, (first % 8 + bits + 7) // 8, signed
            self._places[struct, path] = known
        return known


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Say in a MachineError what cannot be read."""
    try:
        yield
    except MachineError as error:
        raise MachineError(f"{what} cannot be read: {error}") from None
