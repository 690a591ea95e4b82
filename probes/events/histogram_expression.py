# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys, values and variables of a histogram, read as parse_expr() of trace_events_hist.c does."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import NoReturn, Protocol

from .errors import EventError
from .filter_fields import FilterField, Kind
from .histogram_field import NO_MARK, HistogramField, Mark, event_field
from .numbers import BadNumber, is_digit, unsigned

_MOST_OPERATORS = 3
_SIMPLE_MODIFIERS = {
    "hex": Mark.HEX,
    "sym": Mark.SYM,
    "symXoffset": Mark.SYM_OFFSET,
    "syscall": Mark.SYSCALL,
    "log2": Mark.LOG2,
    "usecs": Mark.TIMESTAMP_USECS,
}


class Refuse(Protocol):
    """Raises EventError with the kernel's `message`, at the first place in the command where the text `at` is."""

    def __call__(self, message: str, at: str, number: int = errno.EINVAL) -> NoReturn: ...


class ExpressionParser:
    """Reads the expressions of one histogram.

    `path` is the group and the name of its event, `fields` are those that can be named, `definitions` the texts of its
    own variables, and `others` names the variables of other histograms.
    """

    def __init__(
        self,
        path: tuple[str, str],
        fields: Mapping[str, FilterField],
        definitions: Mapping[str, str],
        others: frozenset[str],
        refuse: Refuse,
    ) -> None:
        self._path = path
        self._fields = fields
        self._definitions = definitions
        self._others = others
        self._refuse = refuse
        self._operators = 0

    def parse(self, text: str, marks: Mark, variable: str = "") -> HistogramField:
        """What `text` says. Raises EventError."""
        self._operators = 0
        return self._expression(text, marks, variable)

    def _expression(self, text: str, marks: Mark, variable: str) -> HistogramField:
        if self._operators > _MOST_OPERATORS:
            self._refuse("Too many subexpressions (3 max)", text)
        at = root_operator(text)
        if at is None:
            return self._atom(text, marks, variable)
        if at == 0 and text[0] == "-":
            return self._minus(text, marks, variable)
        self._operators += 1
        texts = (text[:at], text[at + 1 :])
        if not all(texts):
            raise EventError(errno.EINVAL, f"the operator '{text[at]}' lacks an operand in '{text}'")
        operands = tuple([self._operand(each) for each in texts])
        first, second = operands
        if (first.marks ^ second.marks) & Mark.TIMESTAMP_USECS:
            self._refuse("Timestamp units in expression don't match", "")
        if text[at] == "/" and second.marks & Mark.CONST and not second.constant:
            self._refuse("Division by zero", texts[1], errno.EDOM)
        units = first.marks & (Mark.TIMESTAMP | Mark.TIMESTAMP_USECS)
        if first.marks & second.marks & Mark.CONST:
            folded = HistogramField(Mark.EXPR, operator=text[at], operands=operands).number({})
            return HistogramField(marks | Mark.CONST, variable=variable, constant=folded)
        name = first.in_expression() + text[at] + second.in_expression()
        return HistogramField(
            marks | Mark.EXPR | units, None, first.size, first.signed, variable, 0, 0, text[at], operands, name
        )

    def _operand(self, text: str) -> HistogramField:
        operand = self._expression(text, NO_MARK, "")
        if operand.marks & Mark.STRING:
            self._refuse("String type can not be an operand in expression", text)
        return operand

    def _minus(self, text: str, marks: Mark, variable: str) -> HistogramField:
        """-(EXPRESSION): the parentheses are required (parse_unary())."""
        self._operators += 1
        if self._operators > _MOST_OPERATORS:
            self._refuse("Too many subexpressions (3 max)", text)
        # As in the kernel, one character is taken for the opening parenthesis wherever that is.
        body, closing, behind = text[2:].rpartition(")")
        if "(" not in text or not closing:
            raise EventError(errno.EINVAL, f"the minus before '{text[1:]}' needs parentheses, as in -(a+b)")
        if behind:
            self._refuse("Unary minus not supported in sub-expressions", text[2:])
        operand = self._operand(body)
        units = operand.marks & (Mark.TIMESTAMP | Mark.TIMESTAMP_USECS)
        if len(operand.operands) == 1:  # expr_str() gives up two levels down
            name = ""
        else:
            name = f"-({operand.own_name if operand.operands else operand.in_expression()})"
        return HistogramField(
            marks | Mark.EXPR | units,
            None,
            operand.size,
            operand.signed,
            variable,
            operator="-",
            operands=(operand,),
            own_name=name,
        )

    def _atom(self, text: str, marks: Mark, variable: str) -> HistogramField:
        if is_digit(text[:1]):
            try:
                number = unsigned(text)
            except BadNumber:
                self._refuse("Expecting numeric literal", text)
            return HistogramField(marks | Mark.CONST, variable=variable, constant=number)
        parts = text.split(".", 2)
        path = None
        if len(parts) == 3:
            path, text = (parts[0], parts[1]), parts[2]
        if text.startswith("$") and len(text) > 1:
            own = self._definitions.get(text[1:]) if path in (None, self._path) else None
            if own is not None and root_operator(own) is None and not (own.startswith("$") and len(own) > 1):
                text = own
            elif text[1:] in self._others:
                raise EventError(
                    errno.EOPNOTSUPP, f"'{text}' is a variable of another histogram, which armprobe has no use for"
                )
        field, marks, buckets = self._field(text, marks)
        made = event_field(field, marks, variable, buckets)
        if made is None:
            assert field is not None
            raise EventError(errno.ENOMEM, f"'{field.name}' has {field.size} bytes, and a number has 1, 2, 4 or 8")
        return made

    def _field(self, text: str, marks: Mark) -> tuple[FilterField | None, Mark, int]:
        """The field with its modifier (parse_field())."""
        name, dot, modifier = text.partition(".")
        buckets = 0
        if dot:
            mark, buckets = self._modifier(name, modifier, marks)
            marks |= mark
        if name == "common_timestamp":
            return None, marks | Mark.TIMESTAMP, buckets
        if name == "common_cpu":
            return None, marks | Mark.CPU, buckets
        field = self._fields.get(name)
        if field is not None and field.kind is Kind.CPU:
            return field, marks | Mark.CPU, buckets
        if field is None or not field.size:
            self._refuse("Couldn't find field", name)
        return field, marks, buckets

    def _modifier(self, name: str, modifier: str, marks: Mark) -> tuple[Mark, int]:
        """The mark, and the size of a bucket."""
        if modifier in _SIMPLE_MODIFIERS:
            return _SIMPLE_MODIFIERS[modifier], 0
        if modifier == "execname" and name == "common_pid":
            return Mark.EXECNAME, 0
        if modifier.startswith("bucket"):
            modifier = modifier.removeprefix("bucket").removeprefix("s")
            if modifier.startswith("="):
                modifier = modifier[1:]
                try:
                    size = unsigned(modifier)
                except BadNumber:
                    size = 0
                if size:
                    return Mark.BUCKET, size
        elif not marks & (Mark.VAR | Mark.KEY):
            if modifier.startswith("percent"):
                return Mark.PERCENT, 0
            if modifier.startswith("graph"):
                return Mark.GRAPH, 0
        self._refuse("Invalid field modifier", modifier)


def root_operator(text: str) -> int | None:
    """Where the operator is that is applied last (contains_operator()); 0 for a minus sign at the beginning."""
    minus, plus = text.rfind("-"), text.rfind("+")
    if minus == 0:
        return 0
    if minus > 0 or plus >= 0:
        return max(minus, plus)
    return max(text.rfind("/"), text.rfind("*")) if "/" in text or "*" in text else None
