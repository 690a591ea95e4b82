# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of an expression as it was written, without the meaning of names and types.

Each node has `at`, the offset in the text where an error in the node is reported.
"""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class Node:
    """Base of all nodes."""

    at: int


@lazy_dataclass
class Number(Node):
    """A constant. Its type depends on its notation, decimal or not, and its suffix (ISO C, 6.4.4.1)."""

    value: int
    decimal: bool = True
    suffix: str = ""


@lazy_dataclass
class String(Node):
    """A text that something is compared with."""

    text: str


@lazy_dataclass
class Name(Node):
    """A register, a symbol or a word such as `retval`."""

    name: str


@lazy_dataclass
class TypeName(Node):
    """The name of a type: `words`, followed by `stars` stars."""

    words: tuple[str, ...]
    stars: int


@lazy_dataclass
class AddressOf(Node):
    """`&operand`."""

    operand: Node


@lazy_dataclass
class SizeOf(Node):
    """`sizeof operand`, of a type or of a value, which is not evaluated."""

    operand: Node


@lazy_dataclass
class ContainerOf(Node):
    """`container_of(pointer, type, member)`."""

    pointer: Node
    type: TypeName
    member: str


@lazy_dataclass
class PerCpu(Node):
    """`per_cpu(operand, cpu)`, or `per_cpu_ptr` if it is of a `pointer`. `cpu` is None for this_cpu_read and _ptr."""

    operand: Node
    cpu: Node | None
    pointer: bool


@lazy_dataclass
class Unary(Node):
    """`operator` is one of - + ~ ! and *."""

    operator: str
    operand: Node


@lazy_dataclass
class Cast(Node):
    """A conversion to `type`."""

    type: TypeName
    operand: Node


@lazy_dataclass
class Binary(Node):
    """Two operands and the operator between them."""

    operator: str
    left: Node
    right: Node


@lazy_dataclass
class Subscript(Node):
    """`left[index]`."""

    left: Node
    index: Node


@lazy_dataclass
class Member(Node):
    """`left.path` or `left->path`. The path has dots where a member is a struct itself."""

    left: Node
    path: str


@lazy_dataclass
class Print:
    """A note: its format, without the quotes, which begins at offset `at`, and the values to print."""

    at: int
    form: str
    values: tuple[Node, ...]
