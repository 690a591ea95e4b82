# SPDX-License-Identifier: GPL-2.0-or-later
"""The evaluator of agent expressions: bytecode that gdb sends, or that `emit` makes of expressions in our language.

GDB manual, appendix "The GDB Agent Expression Mechanism". The bytecode works on a stack of 64-bit values. Malformed
bytecode is refused when an AgentExpression is created. The number of operations in one evaluation is bounded.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from typing import Final

from armprobe.machine import MachineError

from .bytecode import MOST_BYTES, decode
from .environment import Environment
from .errors import AgentError
from .format import Format, FormatError
from .strings import string_pieces

MOST_STEPS: Final = 0x1_0000
"""Operations in one evaluation. Each pushes at most one value, so the stack has the same bound."""
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63
_END: Final = -1

Operation = Callable[[list[int], int, Environment], int | None]
"""Takes the stack and the operand, and returns the index of the operation to execute next; None for the following."""


class AgentExpression:
    """Decoded `code`, ready for evaluation. Raises AgentError if it is malformed."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self._program: list[tuple[Operation, int]] = []
        indices: dict[int, int] = {}  # by offset in bytes
        jumps: list[tuple[int, int]] = []
        for at, name, operand, text in decode(code):
            indices[at] = len(self._program)
            operation = _OPERATIONS[name]
            if name in ("goto", "if_goto"):
                jumps.append((len(self._program), operand))
            elif name in ("ext", "zero_ext") and not 1 <= operand <= 64:
                raise AgentError(f"{name} of {operand} bits: a value has 64")
            elif name == "printf":
                operation = _printf(operand >> 16, text)
            self._program.append((operation, operand))
        self._program.append((_runs_out, 0))
        for index, target in jumps:
            if target not in indices:
                raise AgentError(f"the expression jumps to {target}, where no operation begins")
            self._program[index] = self._program[index][0], indices[target]

    def evaluate(self, environment: Environment) -> int:
        """The value on top of the stack at the end, 0 to 2**64 - 1; 0 if the stack is empty. Raises AgentError."""
        stack: list[int] = []
        program, at = self._program, 0
        try:
            for _ in range(MOST_STEPS):
                operation, operand = program[at]
                target = operation(stack, operand, environment)
                if target is None:
                    at += 1
                elif target == _END:
                    return stack[-1] if stack else 0
                else:
                    at = target
        except IndexError:
            raise AgentError("the expression takes more from the stack than there is") from None
        except MachineError as error:
            raise AgentError(str(error)) from None
        raise AgentError(f"the expression does not end within {MOST_STEPS} operations")


def _printf(count: int, text: bytes) -> Operation:
    try:
        form = Format(text)
    except FormatError as error:
        raise AgentError(str(error)) from None
    if form.count != count:
        raise AgentError(f"printf of {count} values has a format for {form.count}")

    def printf(stack: list[int], operand: int, environment: Environment) -> None:
        _pop(stack), _pop(stack)  # a function and a channel, which are not used: there is one output
        # The first is on top: gdb pushes them in reverse order (gdb/ax-gdb.c, gen_printf).
        values = [stack.pop() for _ in range(count)]
        environment.show(form.text(values, environment.read))

    return printf


def _pop(stack: list[int]) -> int:
    return stack.pop()


def _signed(value: int) -> int:
    return value - (1 << 64) if value & _SIGN else value


def _binary(compute: Callable[[int, int], int]) -> Operation:
    def operation(stack: list[int], operand: int, environment: Environment) -> None:
        right = stack.pop()
        stack[-1] = compute(stack[-1], right) & _MASK

    return operation


def _unary(compute: Callable[[int, int], int]) -> Operation:
    """`compute` takes the value and the operand."""

    def operation(stack: list[int], operand: int, environment: Environment) -> None:
        stack[-1] = compute(stack[-1], operand) & _MASK

    return operation


def _signed_binary(compute: Callable[[int, int], int]) -> Operation:
    return _binary(lambda left, right: compute(_signed(left), _signed(right)))


def _divided(left: int, right: int) -> int:
    """The quotient rounded towards zero, as in C."""
    if not right:
        raise AgentError("the expression divides by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    return left - _divided(left, right) * right


def _reference(width: int) -> Operation:
    def operation(stack: list[int], operand: int, environment: Environment) -> None:
        stack[-1] = int.from_bytes(environment.read(stack[-1], width), "little")

    return operation


def _sign_extended(value: int, bits: int) -> int:
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def _push(stack: list[int], operand: int, environment: Environment) -> None:
    stack.append(operand)


def _register(stack: list[int], operand: int, environment: Environment) -> None:
    stack.append(environment.register(operand))


def _goto(stack: list[int], operand: int, environment: Environment) -> int:
    return operand


def _if_goto(stack: list[int], operand: int, environment: Environment) -> int | None:
    return operand if stack.pop() else None


def _end(stack: list[int], operand: int, environment: Environment) -> int:
    return _END


def _runs_out(stack: list[int], operand: int, environment: Environment) -> int:
    raise AgentError("the expression runs past its last operation")


def _dup(stack: list[int], operand: int, environment: Environment) -> None:
    stack.append(stack[-1])


def _drop(stack: list[int], operand: int, environment: Environment) -> None:
    stack.pop()


def _swap(stack: list[int], operand: int, environment: Environment) -> None:
    stack[-1], stack[-2] = stack[-2], stack[-1]


def _pick(stack: list[int], operand: int, environment: Environment) -> None:
    stack.append(stack[-1 - operand])


def _rot(stack: list[int], operand: int, environment: Environment) -> None:
    """a b c, with c on top, become c a b."""
    stack[-3], stack[-2], stack[-1] = stack[-1], stack[-3], stack[-2]


def _get_variable(stack: list[int], operand: int, environment: Environment) -> None:
    stack.append(environment.variable(operand) & _MASK)


def _set_variable(stack: list[int], operand: int, environment: Environment) -> None:
    environment.set_variable(operand, stack[-1])


def _trace_variable(stack: list[int], operand: int, environment: Environment) -> None:
    environment.collect_variable(operand)


def _trace(stack: list[int], operand: int, environment: Environment) -> None:
    length = stack.pop()
    environment.collect(stack.pop(), length)


def _trace_quick(stack: list[int], operand: int, environment: Environment) -> None:
    environment.collect(stack[-1], operand)


def _trace_string(stack: list[int], operand: int, environment: Environment) -> None:
    """Memory up to and including a zero byte, or up to unreadable memory, which is no error, as in `_trace`."""
    most = stack.pop()
    address = stack.pop()
    length = 0
    with contextlib.suppress(AgentError, MachineError):
        for piece in string_pieces(environment.read, address, min(most, MOST_BYTES)):
            length += len(piece)
    environment.collect(address, length)


# By name; GDB manual, "Bytecode Descriptions". What a printf does depends on its format.
_OPERATIONS: Final[dict[str, Operation]] = {
    "add": _binary(operator.add),
    "sub": _binary(operator.sub),
    "mul": _binary(operator.mul),
    "div_signed": _signed_binary(_divided),
    "div_unsigned": _binary(_divided),
    "rem_signed": _signed_binary(_remainder),
    "rem_unsigned": _binary(_remainder),
    "lsh": _binary(lambda value, by: value << by if by < 64 else 0),
    "rsh_signed": _binary(lambda value, by: _signed(value) >> min(by, 63)),
    "rsh_unsigned": _binary(lambda value, by: value >> min(by, 64)),
    "trace": _trace,
    "trace_quick": _trace_quick,
    "log_not": _unary(lambda value, _: not value),
    "bit_and": _binary(operator.and_),
    "bit_or": _binary(operator.or_),
    "bit_xor": _binary(operator.xor),
    "bit_not": _unary(lambda value, _: ~value),
    "equal": _binary(operator.eq),
    "less_signed": _signed_binary(operator.lt),
    "less_unsigned": _binary(operator.lt),
    "ext": _unary(_sign_extended),
    "ref8": _reference(1),
    "ref16": _reference(2),
    "ref32": _reference(4),
    "ref64": _reference(8),
    "if_goto": _if_goto,
    "goto": _goto,
    "const8": _push,
    "const16": _push,
    "const32": _push,
    "const64": _push,
    "reg": _register,
    "end": _end,
    "dup": _dup,
    "pop": _drop,
    "zero_ext": _unary(lambda value, bits: value & (1 << bits) - 1),
    "swap": _swap,
    "getv": _get_variable,
    "setv": _set_variable,
    "tracev": _trace_variable,
    "tracenz": _trace_string,
    "trace16": _trace_quick,
    "pick": _pick,
    "rot": _rot,
    "printf": _end,
}
