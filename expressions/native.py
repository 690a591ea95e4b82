# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes programs of the C core (machine/native/program.c) from conditions, notes and gdb's agent expressions.

A program changes nothing but variables. Where it has no value, the evaluator in Python (`Condition.holds`, `Note.line`)
has the value or the sentence why there is none. That is also so for memory that the CPU cannot read now, and for memory
in which a probe has changed something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from armprobe.machine.native import program as native
from armprobe.machine.native.program import Number, Operation

from . import program
from .bytecode import OPERATIONS, decode
from .environment import ELAPSED, WORDS, X30
from .evaluate import AgentExpression
from .format import LONGEST_STRING
from .shorten import shortened

_NUMBERS: Final = {name: number for number, (name, _) in OPERATIONS.items()}
_IN_PYTHON: Final = {
    **dict.fromkeys(("trace", "trace_quick", "trace16", "tracenz", "tracev"), "collects data for a tracepoint"),
    "printf": "prints",
}
_VARIABLES: Final = {"getv": Number.GET, "setv": Number.SET}
_MOST_BYTES: Final = 8192  # of a note in the C core's record of a hit


class NeedsPython(Exception):
    """The C core cannot evaluate a program; the message says why, of "it"."""


def _no_variables(_: int) -> native.Variable:
    raise NeedsPython("it uses trace state variables")


def compile_expression(
    expression: AgentExpression,
    registers: Sequence[str],
    variable: Callable[[int], native.Variable] = _no_variables,
) -> native.Program:
    """The program for bytecode in which a register's number is its place in `registers`. Raises NeedsPython.

    `variable` gives the variable with a number, or raises NeedsPython.
    """
    decoded = list(decode(expression.code))
    indices = {operation.at: index for index, operation in enumerate(decoded)}
    operations, variables = [], []
    for _, name, operand, _ in decoded:
        if name in _IN_PYTHON:
            raise NeedsPython(f"it {_IN_PYTHON[name]}")
        if name in _VARIABLES:
            variables.append(variable(operand))
            operations.append(Operation(_VARIABLES[name], variables[-1].address))
        elif name == "reg":
            operations.append(_register(operand, registers))
        else:
            operations.append(Operation(_NUMBERS[name], indices[operand] if name in ("goto", "if_goto") else operand))
    return native.Program(shortened(operations), variables)


def compile_value(value: program.Value) -> native.Program:
    """The program for a value or a condition. Raises NeedsPython."""
    return compile_expression(value.expression, value.registers)


def compile_note(note: program.Note) -> native.Note:
    """The values and strings that `note` prints: its `line_of` makes the line of them. Raises NeedsPython."""
    programs = [compile_expression(value, note.registers) for value in note.values]
    longest = [LONGEST_STRING * is_string for is_string in note.form.strings]
    compiled = native.Note(map(native.NoteValue, programs, longest))
    if compiled.size > _MOST_BYTES:
        raise NeedsPython(f"its strings may have {compiled.size} bytes, and {_MOST_BYTES} are kept at most")
    return compiled


def compile_text(text: program.Memory) -> native.Text:
    """A string. Raises NeedsPython."""
    return native.Text(compile_value(text.address), text.most)


def compile_memory(fields: Iterable[program.Memory]) -> native.Note:
    """The addresses of `fields`, and the memory there. Raises NeedsPython."""
    return native.Note(
        native.NoteValue(
            compile_value(field.address), field.most, None if field.size is None else compile_value(field.size)
        )
        for field in fields
    )


def _register(number: int, registers: Sequence[str]) -> Operation:
    if number == X30:
        return Operation(Number.X30)
    if number < WORDS:
        return Operation(Number.GENERAL, number)
    if number >= len(registers):
        return Operation(Number.NO_REGISTER)
    if registers[number] == ELAPSED:
        return Operation(Number.ELAPSED)
    operation = native.register_operation(registers[number])
    if operation is None:
        raise NeedsPython(f"it reads {registers[number]}")
    return operation
