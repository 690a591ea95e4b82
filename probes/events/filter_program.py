# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters and hist triggers as programs of the C core, so that an event which has them stays optimised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from armprobe.machine.native import histogram as native
from armprobe.machine.native import program as programs
from armprobe.machine.native.program import Number, Operation, Program

from .field_programs import Fields, made, operation, value_of
from .filter import Filter
from .filter_fields import Kind
from .histogram import Histogram
from .histogram_field import DIVISION_SHIFT, STRING_ADDRESS, HistogramField, Mark
from .pattern import Match, Pattern
from .predicate import Predicate

_MATCHES: Final = {
    Match.FULL: programs.Match.FULL,
    Match.FRONT: programs.Match.FRONT,
    Match.MIDDLE: programs.Match.MIDDLE,
    Match.END: programs.Match.END,
    Match.GLOB: programs.Match.GLOB,
}
_COMPARISONS: Final = {  # the operation, whether the operands are swapped, and whether the result is negated
    "==": ("equal", False, False),
    "!=": ("equal", False, True),
    "<": ("less", False, False),
    ">": ("less", True, False),
    ">=": ("less", False, True),
    "<=": ("less", True, True),
}
_ARITHMETIC: Final = {"+": "add", "-": "sub", "*": "mul"}


def filter_program(chosen: Filter, fields: Fields) -> Program:
    """The program that is 1 for hits that pass, and 0 for others. Raises NeedsPython."""
    operands: list[object] = []
    pieces: list[list[Operation]] = []
    for step in chosen.steps:
        code = _predicate(step.predicate, fields, operands)
        pieces.append(code if step.branch_if else [*code, operation("log_not")])
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece) + 1)
    starts.append(starts[-1] + 2)  # behind the two operations for hits that pass
    whole: list[Operation] = []
    for piece, step in zip(pieces, chosen.steps, strict=True):
        whole += [*piece, operation("if_goto", starts[step.target])]
    whole += [operation("const8", 1), operation("end"), operation("const8", 0), operation("end")]
    return Program(whole, operands)


def _predicate(predicate: Predicate, fields: Fields, operands: list[object]) -> list[Operation]:
    """Code for whether it holds."""
    field, operand = predicate.field, predicate.operand
    if isinstance(operand, Pattern):
        pattern = programs.Pattern(fields.text(field), _MATCHES[operand.match], operand.text, operand.inverted)
        operands.append(pattern)
        return [Operation(Number.MATCH, pattern.address)]
    if field.kind is Kind.CPU or field.size not in (1, 2, 4, 8):
        return [operation("const8", predicate.holds({}))]
    number = fields.number(field)
    operands.append(number)
    code = [value_of(number), operation("ext", 8 * field.size)] if field.signed else [value_of(number)]
    constant = operation("const64", predicate.as_field(operand))
    if predicate.operator == "&":
        return [*code, constant, operation("bit_and")]
    name, swapped, negated = _COMPARISONS[predicate.operator]
    if name == "less":
        name = "less_signed" if field.signed else "less_unsigned"
    code += [constant, *([operation("swap")] if swapped else []), operation(name)]
    return [*code, operation("log_not")] if negated else code


def histogram_trigger(histogram: Histogram, chosen: Filter | None, fields: Fields) -> native.HistogramTrigger:
    """The trigger as C has it. Raises NeedsPython."""
    keys = [_key(field, fields) for field in histogram.text.keys]
    values = [_number(field, fields) for field in histogram.text.values]
    passes = None if chosen is None else filter_program(chosen, fields)
    return native.HistogramTrigger(histogram.table, keys, values, passes)


def _key(field: HistogramField, fields: Fields) -> native.KeyPart:
    if field.marks & Mark.STACKTRACE:
        return native.KeyPart(fields.stack(), field.size)
    if field.marks & Mark.STRING:
        assert field.field is not None
        return native.KeyPart(fields.text(field.field), field.size)
    return native.KeyPart(_number(field, fields), field.size)


def _number(field: HistogramField, fields: Fields) -> Program:
    """The value of a field at a hit, as a u64 (`HistogramField.number`)."""
    marks, source = field.marks, field.field
    if marks & Mark.CONST:
        return made(operation("const64", field.constant))
    if marks & Mark.HITCOUNT:
        return made(operation("const8", 1))
    operands = tuple([_number(each, fields) for each in field.operands])
    if marks & Mark.LOG2:
        return made(value_of(operands[0]), Operation(Number.ORDER), operands=operands)
    if marks & Mark.BUCKET:
        rest = [operation("dup"), operation("const64", field.buckets), operation("rem_unsigned"), operation("sub")]
        return made(value_of(operands[0]), *rest, operands=operands)
    if marks & Mark.EXPR:
        return _expression(field, operands)
    if marks & Mark.TIMESTAMP:
        divided = [operation("const16", 1000), operation("div_unsigned")] if marks & Mark.TIMESTAMP_USECS else []
        return made(Operation(Number.TIME), *divided)
    if marks & Mark.CPU:
        return made(operation("const8", 0))
    assert source is not None
    if source.is_string and source.kind is not Kind.PTR_STRING:
        return made(operation("const64", STRING_ADDRESS))
    number = fields.number(source)
    sign = [operation("ext", 8 * source.size)] if source.signed else []
    return made(value_of(number), *sign, operands=(number,))


def _expression(field: HistogramField, operands: Sequence[Program]) -> Program:
    if len(operands) == 1:
        return made(operation("const8", 0), value_of(operands[0]), operation("sub"), operands=tuple(operands))
    first, second = map(value_of, operands)
    if field.operator in _ARITHMETIC:
        return made(first, second, operation(_ARITHMETIC[field.operator]), operands=tuple(operands))
    divisor = field.operands[1]
    z = 1 << DIVISION_SHIFT
    if divisor.marks & Mark.CONST and divisor.constant & (divisor.constant - 1) and divisor.constant <= z:
        off = [operation("const64", z // divisor.constant), operation("mul"), operation("const64", z - 1)]
        off += [operation("add"), operation("const8", DIVISION_SHIFT), operation("rsh_unsigned"), operation("end")]
        code = [first, operation("dup"), operation("const64", z), operation("less_unsigned")]
        code += [operation("if_goto", 8), second, operation("div_unsigned"), operation("end"), *off]
    else:
        code = [second, operation("dup"), operation("if_goto", 5), operation("const64", -1), operation("end")]
        code += [first, operation("swap"), operation("div_unsigned")]
    return made(*code, operands=tuple(operands))
