# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of a guest kernel, by one interface: `kernel.types["task_struct"].offset("comm")`.

`btf` and `dwarf` read them from what the kernel's build has left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple

from armprobe.machine.errors import MachineError

DEEPEST: Final = 32  # nested structs, as in the kernel: MAX_RESOLVE_DEPTH in kernel/bpf/btf.c
MOST_MEMBERS: Final = 65_535  # of a struct, without those of structs in it: BTF_MAX_VLEN


class Member(NamedTuple):
    """A member of a struct or union.

    `bit_offset` counts from the start of the named struct. `bit_field_size` is the number of bits of a bit field, and
    None for other members.
    """

    name: str
    bit_offset: int
    bit_field_size: int | None

    @property
    def offset(self) -> int:
        """Bytes from the start of the struct to the byte in which the member begins."""
        return self.bit_offset // 8


class Field(NamedTuple):
    """A member as type information has it. `nested` is its type if that is a struct or union without a name."""

    name: str
    bit_offset: int
    bit_field_size: int | None
    nested: Layout | None


class Layout(ABC):
    """A struct or union in type information."""

    @property
    @abstractmethod
    def key(self) -> int:
        """A number that no other struct of this type information has."""

    @abstractmethod
    def fields(self) -> Iterator[Field]:
        """The members in order, those without a name too. Raises MachineError for damaged type information."""


class Struct:
    """A struct or union. `size` is in bytes."""

    def __init__(self, name: str, size: int, layout: Layout) -> None:
        self.name = name
        self.size = size
        self._layout = layout

    @cached_property
    def members(self) -> Mapping[str, Member]:
        """The members by name, in order. Includes the members of structs and unions without a name in it.

        Raises MachineError for damaged type information.
        """
        found: dict[str, Member] = {}
        self._collect(self._layout, 0, found, set(), 0)
        return found

    def offset(self, member: str) -> int:
        """Bytes from the start to `member`. Raises MachineError if there is no such member."""
        if member not in self.members:
            raise MachineError(f"this kernel's type information has no member {member} in a struct {self.name}")
        return self.members[member].offset

    def _collect(self, layout: Layout, start: int, found: dict[str, Member], seen: set[int], depth: int) -> None:
        if depth == DEEPEST:
            raise MachineError(f"the guest's type information nests structs more than {DEEPEST} deep")
        seen.add(layout.key)  # no compiler puts one type without a name into a struct twice
        for field in layout.fields():
            at = start + field.bit_offset
            if field.nested is not None and not field.name:
                if field.nested.key not in seen:
                    self._collect(field.nested, at, found, seen, depth + 1)
            elif field.name:
                found.setdefault(field.name, Member(field.name, at, field.bit_field_size))

    def __repr__(self) -> str:
        return f"<struct {self.name}, {self.size} bytes>"


class Types(ABC):
    """The types of a kernel by name."""

    def __getitem__(self, name: str) -> Struct:
        """The struct or union called `name`. Raises MachineError if there is none."""
        found = self._find(name) if name else None
        if found is None:
            raise MachineError(f"this kernel's type information has no struct {name}")
        return found

    def __contains__(self, name: str) -> bool:
        return bool(name) and self._find(name) is not None

    @abstractmethod
    def _find(self, name: str) -> Struct | None:
        """The first definition of that name. Raises MachineError for damaged type information."""
