# SPDX-License-Identifier: GPL-2.0-or-later
"""A predicate of a filter: a field, an operator and a constant (parse_pred() of trace_events_filter.c)."""

from __future__ import annotations

import errno
import operator
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

from armprobe.machine.lazy_dataclass import lazy_dataclass

from . import c_text as c
from .filter_fields import FilterField, Kind, Values, cpu_of, number_of, string_of
from .numbers import BadNumber, is_digit, unsigned
from .numbers import signed as signed_number
from .pattern import Pattern

OPERATORS = ("~", "!=", "==", "<=", "<", ">=", ">", "&")  # the order in which the kernel tries them

_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&": lambda value, mask: bool(value & mask),
}
_NUMBER_BUFFER = 24


class Refuse(Protocol):
    """Raises EventError."""

    def __call__(self, number: int, message: str, column: int) -> NoReturn: ...


@lazy_dataclass
class Predicate:
    """`field` compared with `operand`: a number, or a pattern if the field is a string.

    `user` says that the address of the string is one of a process (`.ustring`).
    """

    field: FilterField
    operator: str
    operand: int | Pattern
    user: bool = False

    def holds(self, values: Values) -> bool:
        """Whether it is true of a hit."""
        if isinstance(self.operand, Pattern):
            return self.operand.matches(string_of(self.field, values, self.user))
        if self.field.kind is Kind.CPU:
            # filter_pred_cpu() has no case for &, and reads the operand as an int.
            return self.operator != "&" and _COMPARE[self.operator](cpu_of(values), signed(self.operand, 4))
        if self.field.size not in (1, 2, 4, 8):  # select_comparison_fn() has no function for it
            return False
        return _COMPARE[self.operator](self.as_field(number_of(self.field, values)), self.as_field(self.operand))

    def as_field(self, number: int) -> int:
        """`number` cut to the size of the field, with its sign."""
        size = self.field.size
        return signed(number, size) if self.field.signed else number & ((1 << 8 * size) - 1)


def signed(number: int, size: int) -> int:
    """The low `size` bytes of `number`, as a signed number."""
    half = 1 << (8 * size - 1)
    return ((number + half) & (2 * half - 1)) - half


def parse_predicate(
    source: str, start: int, fields: Mapping[str, FilterField], refuse: Refuse
) -> tuple[Predicate, int]:
    """The predicate that begins at `start`, and where it ends."""
    at = start
    while c.is_alnum(source[at : at + 1]) or source[at : at + 1] == "_":
        at += 1
    if at == start:
        refuse(errno.EPERM, "Error", 0)
    # The kernel counts columns from behind the predicate's first character.
    field = fields.get(source[start:at])
    if field is None:
        refuse(errno.EINVAL, "Field not found", at + 1)
    user = source.startswith(".ustring", at)
    at = _skip_spaces(source, at + (len(".ustring") if user else 0))
    name = next((each for each in OPERATORS if source.startswith(each, at)), None)
    if name is None:
        refuse(errno.EINVAL, "Invalid operator", at + 1)
    at = _skip_spaces(source, at + len(name))
    char = source[at : at + 1]
    if char in ("'", '"'):
        pattern, at = _pattern(source, at, field, name, refuse)
        return Predicate(field, name, pattern, user), at
    if is_digit(char) or char == "-":
        number, at = _number(source, at, field, name, refuse)
        return Predicate(field, name, number), at
    refuse(errno.EINVAL, "Invalid value (did you forget quotes)?", at + 1)


def _pattern(source: str, at: int, field: FilterField, name: str, refuse: Refuse) -> tuple[Pattern, int]:
    if name not in ("!=", "~", "=="):
        refuse(errno.EINVAL, "Illegal operation for field type", at + 1)
    if not field.is_string:
        refuse(errno.EINVAL, "Expecting numeric field", at + 1)
    end = source.find(source[at], at + 1)
    if end < 0:
        refuse(errno.EINVAL, "Missing matching quote", len(source) + 1)
    if end - at - 1 >= c.MAX_FILTER_STR_VAL:
        refuse(errno.EINVAL, "Operand too long", end + 1)
    text = source[at + 1 : end].encode("latin-1")
    return (Pattern.glob(text) if name == "~" else Pattern(text, inverted=name == "!=")), end + 1


def _number(source: str, at: int, field: FilterField, name: str, refuse: Refuse) -> tuple[int, int]:
    start = at
    if field.is_string:
        refuse(errno.EINVAL, "Expecting string field", at + 1)
    if name == "~":
        refuse(errno.EINVAL, "Illegal operation for field type", at + 1)
    at += source[at] == "-"
    while c.is_alnum(source[at : at + 1]):
        at += 1
    text = source[start:at]
    if len(text) >= _NUMBER_BUFFER:
        refuse(errno.EINVAL, "Operand too long", at + 1)
    try:
        return (signed_number(text) if field.signed else unsigned(text)), at
    except BadNumber:
        refuse(errno.EINVAL, "Illegal integer value", start + 1)


def _skip_spaces(source: str, at: int) -> int:
    while c.is_space(source[at : at + 1]):
        at += 1
    return at
