# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of an expression as it was written, before names and types mean anything.

Each node has `at`, the offset in the text that an error in it is reported at.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of an expression."""

    at: int


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A constant. Its type depends on how it was written (ISO C, 6.4.4.1): in decimal or not, and with which suffix."""

    value: int
    decimal: bool = True
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A register, a symbol or a word such as `retval`."""

    name: str


@dataclass(frozen=True, slots=True)
class AddressOf(Node):
    """`&symbol`."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`operator` is one of - + ~ ! and *."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """A conversion to the type of the name `words`, with as many `stars` after it."""

    words: tuple[str, ...]
    stars: int
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands with an operator between them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Subscript(Node):
    """`left[index]`."""

    left: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Print:
    """A note: the text between the quotes of its format, which begins at offset `at`, and the values to print."""

    at: int
    form: str
    values: tuple[Node, ...]
