# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes programs of the C core shorter: a condition takes its time for going from operation to operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from armprobe.machine.native.program import Number, Operation

from .bytecode import OPERATIONS

_NUMBERS: Final = {name: number for number, (name, _) in OPERATIONS.items()}
_NOT, _EQUAL, _GOTO, _IF, _END = (_NUMBERS[name] for name in ("log_not", "equal", "goto", "if_goto", "end"))
_JUMPS: Final = _GOTO, _IF, Number.UNLESS
_CONSTANTS: Final = [_NUMBERS[name] for name in ("const8", "const16", "const32", "const64")]
_TRUTHS: Final = _NOT, _EQUAL, _NUMBERS["less_signed"], _NUMBERS["less_unsigned"], Number.EQUALS  # 0 or 1


def shortened(operations: Sequence[Operation]) -> list[Operation]:
    """Operations that give the same, in which jumps have the index of their target.

    A program with a jump backwards stays as it is, because the operations that it executes are counted.
    """
    if any(each.number in _JUMPS and each.operand <= at for at, each in enumerate(operations)):
        return list(operations)
    targets = {each.operand for each in operations if each.number in _JUMPS}
    shorter: list[Operation] = []
    places = []  # where each operation, or what follows it, is in `shorter`
    first = 0  # no jump leads behind this one
    for at, each in enumerate(operations):
        places.append(len(shorter))
        if at in targets:
            first = len(shorter)
        shorter.append(each)
        numbers = [operation.number for operation in shorter[first:][-3:]]
        if len(numbers) > 1 and numbers[-2] in _CONSTANTS and each.number == _EQUAL:
            constant = shorter[-2].operand
            shorter[-2:] = [Operation(Number.EQUALS, constant) if constant else Operation(_NOT)]
        elif len(numbers) == 3 and numbers[0] in _TRUTHS and numbers[1:] == [_NOT, _NOT]:
            del shorter[-2:]
        elif numbers == [_NOT, _NOT, _IF]:
            shorter[-3:] = [each]
        elif numbers[-2:] == [_NOT, _IF]:
            shorter[-2:] = [Operation(Number.UNLESS, each.operand)]
    places.append(len(shorter))
    moved = [Operation(each.number, places[each.operand]) if each.number in _JUMPS else each for each in shorter]
    return [_without_jump(each, moved) for each in moved]


def _without_jump(operation: Operation, program: Sequence[Operation]) -> Operation:
    """The end itself, in place of a jump to it."""
    leads_to = program[operation.operand : operation.operand + 1] if operation.number == _GOTO else ()
    return leads_to[0] if leads_to and leads_to[0].number == _END else operation
