# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters as agent code, so that the C core evaluates them and a probe with a filter stays optimised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition, ExpressionError
from armprobe.expressions.bytecode import assemble, decode, width
from armprobe.machine import Machine
from armprobe.probes.scope import GuestScope

from .fetch import FetchArgument, Op
from .fetch_code import parts, source
from .filter import Filter
from .filter_fields import Kind
from .pattern import Match, Pattern
from .predicate import Predicate

if TYPE_CHECKING:
    from .event import EventProbe

_IN_REGISTERS: Final = (Op.REGISTER, Op.RETURN_VALUE, Op.ARGUMENT, Op.STACK_POINTER, Op.IMMEDIATE)
_LINK: Final = "x30"
_JUMPS: Final = ("goto", "if_goto")
_NAME: Final = re.compile(rb"[\w./:-]{1,15}")
"""Names of tasks that can be written into an expression."""
_Code = list[tuple[str, int]]
_COMPARISONS: Final = {  # the operation, whether the operands are swapped, and whether the result is negated
    "==": ("equal", False, False),
    "!=": ("equal", False, True),
    "<": ("less", False, False),
    ">": ("less", True, False),
    ">=": ("less", False, True),
    "<=": ("less", True, True),
}


def condition(chosen: Filter, probe: EventProbe, machine: Machine) -> Condition | None:
    """The filter as a condition of an event's probe. None if it needs more than registers and the task.

    What is in other memory may not be readable, which does not decide a condition, but does decide a filter.
    """
    scope = GuestScope(machine, None)
    arguments = {each.name: each for each in probe.arguments}
    pieces: list[_Code] = []
    for step in chosen.steps:
        code = _of_task(step.predicate, scope) or _predicate(step.predicate, arguments, probe.definition.is_return)
        if code is None:
            return None
        pieces.append(code if step.branch_if else [*code, ("log_not", 0)])
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + sum(width(name) for name, _ in piece) + width("if_goto"))
    starts.append(starts[-1] + width("const8") + width("end"))
    whole: _Code = []
    for piece, start, step in zip(pieces, starts, chosen.steps, strict=False):
        whole += [(name, operand + start if name in _JUMPS else operand) for name, operand in piece]
        whole.append(("if_goto", starts[step.target]))
    whole += [("const8", 1), ("end", 0), ("const8", 0), ("end", 0)]
    return Condition(chosen.text, assemble(whole), scope.registers)


def _of_task(predicate: Predicate, scope: GuestScope) -> _Code | None:
    """Code for a comparison with the name or the number of the task. Jumps in it are to offsets from its start."""
    operand = predicate.operand
    if predicate.field.kind is Kind.COMM:
        if not isinstance(operand, Pattern) or operand.match is not Match.FULL or not _NAME.fullmatch(operand.text):
            return None
        text = f'$comm {"!=" if operand.inverted else "=="} "{operand.text.decode()}"'
    elif predicate.field.name == "common_pid" and not isinstance(operand, Pattern) and predicate.operator != "&":
        text = f"$pid {predicate.operator} {predicate.as_field(operand)}"
    else:
        return None
    try:
        code = Condition.compile(text, scope).code
    except ExpressionError:  # the guest's tasks are not known
        return None
    return [(each.name, each.operand) for each in decode(code)][:-1]


def _predicate(predicate: Predicate, arguments: dict[str, FetchArgument], is_return: bool) -> _Code | None:
    """Code for whether it holds."""
    field, operand = predicate.field, predicate.operand
    argument = arguments.get(field.name)
    if argument is None or isinstance(operand, Pattern) or field.kind is not Kind.OTHER or argument.count:
        return None
    loads, store = parts(argument)
    if store.op is not Op.STORE or len(loads) != 1 or loads[0].op not in _IN_REGISTERS:
        return None
    if is_return and loads[0].operand == _LINK:  # the trampoline, as the kernel's own probe has it
        return None
    value = source(loads[0])
    if value is None:
        return None
    bits = 8 * field.size
    extension = ("ext" if field.signed else "zero_ext", bits)
    code = [*value]
    if argument.bit_field is not None:
        left, right = argument.bit_field.left, argument.bit_field.right
        code += [("const8", left), ("lsh", 0), ("zero_ext", bits), ("const8", right), ("rsh_unsigned", 0)]
    if bits < 64:
        code.append(extension)
    constant = ("const64", predicate.as_field(operand) & ((1 << 64) - 1))
    if predicate.operator == "&":
        code += [constant, ("bit_and", 0), ("log_not", 0), ("log_not", 0)]
    else:
        operation, swapped, negated = _COMPARISONS[predicate.operator]
        if operation == "less":
            operation = "less_signed" if field.signed else "less_unsigned"
        code += [constant, *([("swap", 0)] if swapped else []), (operation, 0), *([("log_not", 0)] if negated else [])]
    return code
