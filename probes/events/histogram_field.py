# SPDX-License-Identifier: GPL-2.0-or-later
"""A key, value or variable of a histogram: how it is computed (struct hist_field of trace_events_hist.c)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from functools import cached_property, partial

from . import c_text as c
from .filter_fields import FilterField, Kind, Values, cpu_of, number_of, string_of
from .predicate import signed

U64 = (1 << 64) - 1
STACKTRACE_DEPTH = 16
STRING_ADDRESS = 0xFFFF_0000_0000_0000
"""The value of a string as a number, which in the kernel is the address where the record happens to be."""
DIVISION_SHIFT = 20  # HIST_DIV_SHIFT


class Mark(Flag):
    """What is known of a field (enum hist_field_flags)."""

    HITCOUNT = auto()
    KEY = auto()
    STRING = auto()
    HEX = auto()
    SYM = auto()
    SYM_OFFSET = auto()
    EXECNAME = auto()
    SYSCALL = auto()
    STACKTRACE = auto()
    LOG2 = auto()
    TIMESTAMP = auto()
    TIMESTAMP_USECS = auto()
    VAR = auto()
    EXPR = auto()
    CPU = auto()
    BUCKET = auto()
    CONST = auto()
    PERCENT = auto()
    GRAPH = auto()


NO_MARK = Mark(0)
MODIFIERS = (  # the order of get_hist_field_flags()
    (Mark.HEX, "hex"),
    (Mark.SYM, "sym"),
    (Mark.SYM_OFFSET, "sym-offset"),
    (Mark.EXECNAME, "execname"),
    (Mark.SYSCALL, "syscall"),
    (Mark.LOG2, "log2"),
    (Mark.BUCKET, "buckets"),
    (Mark.TIMESTAMP_USECS, "usecs"),
    (Mark.PERCENT, "percent"),
    (Mark.GRAPH, "graph"),
)


@dataclass(eq=False)
class HistogramField:
    """A part of a histogram. `size` is in bytes. `field` is the field of the event that it reads, if it does so.

    `operands` are those of an expression with `operator`, or the one of which a logarithm or a bucket is made.
    """

    marks: Mark
    field: FilterField | None = None
    size: int = 8
    signed: bool = False
    variable: str = ""
    constant: int = 0
    buckets: int = 0
    operator: str = ""
    operands: tuple[HistogramField, ...] = ()
    own_name: str = ""
    offset: int = 0

    @property
    def name(self) -> str:
        """What it is called in lines and as a key to sort by (hist_field_name())."""
        if self.field is not None:
            return self.field.name
        if self.marks & (Mark.LOG2 | Mark.BUCKET):
            return self.operands[0].name
        if self.marks & Mark.CPU:
            return "common_cpu"
        if self.marks & Mark.EXPR:
            return self.own_name
        return "common_timestamp" if self.marks & Mark.TIMESTAMP else ""

    @property
    def modifier(self) -> str:
        """The dot and the modifier, or nothing."""
        return next((f".{name}" for mark, name in MODIFIERS if self.marks & mark), "")

    def specification(self) -> str:
        """The text in the list of triggers (hist_field_print())."""
        text = f"{self.variable}=" if self.variable else ""
        if self.marks & Mark.CPU:
            text += "common_cpu"
        elif self.marks & Mark.CONST:
            text += str(self.constant)
        else:
            text += self.name
        if not self.marks & Mark.EXPR:
            text += self.modifier
        return text + (f"={signed(self.buckets, 8)}" if self.buckets else "")

    def in_expression(self) -> str:
        """The text as an operand (expr_field_str())."""
        constant = str(self.constant) if self.marks & Mark.CONST else ""
        return constant + self.name + self.modifier

    def identity(self) -> tuple[object, ...]:
        """What must be the same in two histograms that the kernel takes for the same (hist_trigger_match())."""
        field = self.field and (self.field.name, self.field.type, self.field.size, self.field.signed)
        return (self.marks, field, self.offset, self.size, self.signed, self.variable)

    def string(self, values: Values) -> bytes:
        """The text of a string, without a NUL, as a key keeps it (add_to_key())."""
        assert self.field is not None
        return string_of(self.field, values).partition(b"\0")[0][: self.size - 1]

    def number(self, values: Values) -> int:
        """The value at a hit, as a u64."""
        return self._function(values)

    @cached_property
    def _function(self) -> Callable[[Values], int]:
        """What computes the value (hist_fn_call()), chosen once: operations on marks take their time."""
        marks = self.marks
        if marks & Mark.CONST:
            return lambda values: self.constant
        if marks & Mark.HITCOUNT:
            return lambda values: 1
        if marks & Mark.LOG2:
            return lambda values: max(0, self.operands[0].number(values) - 1).bit_length()  # order_base_2()
        if marks & Mark.BUCKET:
            return self._bucket
        if marks & Mark.EXPR:
            return lambda values: self._expression(values) & U64
        if marks & Mark.TIMESTAMP:
            return partial(_time, 1000 if marks & Mark.TIMESTAMP_USECS else 1)
        if marks & Mark.CPU:
            return cpu_of
        field = self.field
        assert field is not None
        if field.is_string and field.kind is not Kind.PTR_STRING:
            return lambda values: STRING_ADDRESS
        if field.signed:
            return lambda values: signed(number_of(field, values), field.size) & U64
        return partial(number_of, field)

    def _bucket(self, values: Values) -> int:
        value = self.operands[0].number(values)
        return value - value % self.buckets

    def _expression(self, values: Values) -> int:
        first, *rest = (operand.number(values) for operand in self.operands)
        if not rest:
            return -first
        (second,) = rest
        match self.operator:
            case "+":
                return first + second
            case "-":
                return first - second
            case "*":
                return first * second
        if not second:
            return U64
        if self.operands[1].marks & Mark.CONST:
            return divide_by_constant(first, second)
        return first // second


def _time(divisor: int, values: Values) -> int:
    """The time of a hit in ns, divided."""
    time = values.get("common_timestamp")
    return time // divisor if isinstance(time, int) else 0


def divide_by_constant(value: int, divisor: int) -> int:
    """A division by a constant, which is off for some small values (div_by_mult_and_shift())."""
    z = 1 << DIVISION_SHIFT
    if divisor & (divisor - 1) == 0 or divisor > z or value >= z:
        return value // divisor
    return (value * (z // divisor) + z - 1) >> DIVISION_SHIFT


def event_field(field: FilterField | None, marks: Mark, variable: str = "", buckets: int = 0) -> HistogramField | None:
    """What reads `field`, or the time or the CPU, as `marks` say (create_hist_field()). None: it has no number."""
    if marks & (Mark.LOG2 | Mark.BUCKET):
        operand = event_field(field, marks & ~(Mark.LOG2 | Mark.BUCKET))
        if operand is None:
            return None
        return HistogramField(marks, field, operand.size, False, variable, 0, buckets, "", (operand,))
    if marks & Mark.TIMESTAMP:
        return HistogramField(marks, field, 8, False, variable)
    if marks & Mark.CPU:
        return HistogramField(marks, field, 4, False, variable)
    assert field is not None
    if field.is_string and field.kind is not Kind.PTR_STRING:
        size = field.size if field.kind is Kind.STATIC_STRING else c.MAX_FILTER_STR_VAL
        return HistogramField(marks | Mark.STRING, field, size, False, variable)
    if field.size not in (1, 2, 4, 8):
        return None
    return HistogramField(marks, field, field.size, field.signed, variable)
