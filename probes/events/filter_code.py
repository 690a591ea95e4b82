# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters as agent code, so that the C core evaluates them and a probe with a filter stays optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition
from armprobe.expressions.bytecode import assemble, width
from armprobe.machine import Machine
from armprobe.probes.scope import GuestScope

from .fetch import FetchArgument, Op
from .fetch_code import parts, source
from .filter import Filter
from .filter_fields import Kind
from .pattern import Pattern
from .predicate import Predicate

if TYPE_CHECKING:
    from .event import EventProbe

_IN_REGISTERS: Final = (Op.REGISTER, Op.RETURN_VALUE, Op.ARGUMENT, Op.STACK_POINTER, Op.IMMEDIATE)
_LINK: Final = "x30"
_COMPARISONS: Final = {  # the operation, whether the operands are swapped, and whether the result is negated
    "==": ("equal", False, False),
    "!=": ("equal", False, True),
    "<": ("less", False, False),
    ">": ("less", True, False),
    ">=": ("less", False, True),
    "<=": ("less", True, True),
}


def condition(chosen: Filter, probe: EventProbe, machine: Machine) -> Condition | None:
    """The filter as a condition of an event's probe. None if it needs more than registers.

    What is in memory may not be readable, which does not decide a condition, but does decide a filter.
    """
    arguments = {each.name: each for each in probe.arguments}
    pieces: list[bytes] = []
    for step in chosen.steps:
        code = _predicate(step.predicate, arguments, probe.definition.is_return)
        if code is None:
            return None
        pieces.append(code if step.branch_if else code + assemble([("log_not", 0)]))
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece) + width("if_goto"))
    passed = [("const8", 1), ("end", 0), ("const8", 0), ("end", 0)]
    starts.append(starts[-1] + width("const8") + width("end"))
    code = b"".join(
        piece + assemble([("if_goto", starts[step.target])]) for piece, step in zip(pieces, chosen.steps, strict=True)
    )
    return Condition(chosen.text, code + assemble(passed), GuestScope(machine, None).registers)


def _predicate(predicate: Predicate, arguments: dict[str, FetchArgument], is_return: bool) -> bytes | None:
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
    return assemble(code)
