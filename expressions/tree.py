# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of an expression as it was written, without the meaning of names and types.

Each node has `at`, the offset in the text where an error in the node is reported.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    at: int


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A constant. Its type depends on its notation, decimal or not, and its suffix (ISO C, 6.4.4.1)."""

    value: int
    decimal: bool = True
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class String(Node):
    """A text that something is compared with."""

    text: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A register, a symbol or a word such as `retval`."""

    name: str


@dataclass(frozen=True, slots=True)
class TypeName(Node):
    """The name of a type: `words`, followed by `stars` stars."""

    words: tuple[str, ...]
    stars: int


@dataclass(frozen=True, slots=True)
class AddressOf(Node):
    """`&operand`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class SizeOf(Node):
    """`sizeof operand`, of a type or of a value, which is not evaluated."""

    operand: Node


@dataclass(frozen=True, slots=True)
class ContainerOf(Node):
    """`container_of(pointer, type, member)`."""

    pointer: Node
    type: TypeName
    member: str


@dataclass(frozen=True, slots=True)
class PerCpu(Node):
    """`per_cpu(operand, cpu)`, or `per_cpu_ptr` if it is of a `pointer`. `cpu` is None for this_cpu_read and _ptr."""

    operand: Node
    cpu: Node | None
    pointer: bool


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`operator` is one of - + ~ ! and *."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """A conversion to `type`."""

    type: TypeName
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands and the operator between them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Subscript(Node):
    """`left[index]`."""

    left: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`left.path` or `left->path`. The path has dots where a member is a struct itself."""

    left: Node
    path: str


@dataclass(frozen=True, slots=True)
class Print:
    """A note: its format, without the quotes, which begins at offset `at`, and the values to print."""

    at: int
    form: str
    values: tuple[Node, ...]
