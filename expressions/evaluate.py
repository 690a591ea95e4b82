# SPDX-License-Identifier: GPL-2.0-or-later
"""Agent expressions: the bytecode that gdb compiles expressions to, for evaluation on the debugged side.

GDB manual, appendix "The GDB Agent Expression Mechanism". A stack of 64-bit values; what is wrong with an expression as
such is refused when it is made, and evaluating one takes a bounded time, whatever it says.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from .format import Format, FormatError

MOST_BYTES: Final = 0x1_0000  # a jump names its target by 16 bits
MOST_STEPS: Final = 0x1_0000
"""Operations that one evaluation may take; as each pushes one value at most, also how deep the stack can get."""
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63
_END: Final = -1


class AgentError(Exception):
    """The expression is wrong, or cannot be evaluated here and now; the text says why."""


class Context(Protocol):
    """What an expression is evaluated in. Each may raise AgentError."""

    def register(self, number: int) -> int:
        """The low 64 bits of a register, by gdb's number for it."""

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes of memory."""

    def variable(self, number: int) -> int:
        """A trace state variable."""

    def set_variable(self, number: int, value: int) -> None:
        """Give a trace state variable a value, 0 to 2**64 - 1."""

    def collect(self, address: int, length: int) -> None:
        """Record memory in the trace frame, if there is one."""

    def collect_variable(self, number: int) -> None:
        """Record a trace state variable there."""

    def show(self, text: str) -> None:
        """Show text to the user."""


Operation = Callable[[list[int], int, Context], int | None]
"""Takes the stack and the operand; gives the index of the operation to go on with, None for the next."""


def assemble(operations: Iterable[tuple[str, int]]) -> bytes:
    """The code for operations by their names in the manual, each with its operand (0 for those without).

    An operand is taken modulo what it has room for; a jump's is the offset in bytes of where it goes. Raises AgentError
    for an operation that there is not, or whose operand is of another form.
    """
    code = bytearray()
    for name, operand in operations:
        if name not in _NAMES or name == "printf":
            raise AgentError(f"there is no operation {name!r} in an agent expression that can be evaluated here")
        number, width = _NAMES[name]
        code.append(number)
        code += (operand & (1 << 8 * width) - 1).to_bytes(width, "big")
    return bytes(code)


def width(name: str) -> int:
    """Bytes that the operation takes, operand included. Raises KeyError for one that there is not."""
    return 1 + _NAMES[name][1]


class AgentExpression:
    """`code` made ready to be evaluated. Raises AgentError if it is not a valid expression."""

    def __init__(self, code: bytes) -> None:
        if len(code) > MOST_BYTES:
            raise AgentError(f"an expression of {len(code)} bytes is longer than {MOST_BYTES}")
        self.code = code
        self._program: list[tuple[Operation, int]] = []
        places: dict[int, int] = {}  # byte offsets to indices
        jumps: list[tuple[int, int]] = []
        at = 0
        while at < len(code):
            places[at] = len(self._program)
            name, width, operation = _operation(code, at)
            operand_at, at = at + 1, at + 1 + width
            if at > len(code):
                raise AgentError(f"the expression ends within its operation {name}")
            operand = int.from_bytes(code[operand_at:at], "big")
            if name in ("goto", "if_goto"):
                jumps.append((len(self._program), operand))
            elif name in ("ext", "zero_ext") and not 1 <= operand <= 64:
                raise AgentError(f"{name} of {operand} bits: a value has 64")
            elif name == "printf":
                operation, at = (
                    self._printf(operand >> 16, code[at : at + (operand & 0xFFFF)], operand),
                    at + (operand & 0xFFFF),
                )
            self._program.append((operation, operand))
        self._program.append((_runs_out, 0))
        for index, target in jumps:
            if target not in places:
                raise AgentError(f"the expression jumps to {target}, where no operation begins")
            self._program[index] = self._program[index][0], places[target]

    def evaluate(self, context: Context) -> int:
        """The value on top of the stack at the end, 0 to 2**64 - 1; 0 if there is none. Raises AgentError."""
        stack: list[int] = []
        program, at = self._program, 0
        try:
            for _ in range(MOST_STEPS):
                operation, operand = program[at]
                target = operation(stack, operand, context)
                if target is None:
                    at += 1
                elif target == _END:
                    return stack[-1] if stack else 0
                else:
                    at = target
        except IndexError:
            raise AgentError("the expression takes more from the stack than there is") from None
        raise AgentError(f"the expression does not come to its end within {MOST_STEPS} operations")

    @staticmethod
    def _printf(count: int, text: bytes, operand: int) -> Operation:
        if len(text) != operand & 0xFFFF:
            raise AgentError("the expression ends within the format of its printf")
        try:
            form = Format(text)
        except FormatError as error:
            raise AgentError(str(error)) from None
        if form.count != count:
            raise AgentError(f"printf of {count} values has a format for {form.count}")

        def printf(stack: list[int], operand: int, context: Context) -> None:
            _pop(stack), _pop(stack)  # a function and a channel: there is one way of printing here
            # The first is on top: gdb pushes them in reverse (gdb/ax-gdb.c, gen_printf); the manual does not say.
            values = [stack.pop() for _ in range(count)]
            context.show(form.text(values, context.read))

        return printf


def _operation(code: bytes, at: int) -> tuple[str, int, Operation]:
    found = _OPERATIONS.get(code[at])
    if found is None:
        what = _ABSENT.get(code[at], "there is none with this number")
        raise AgentError(f"operation {code[at]:#04x} of an expression: {what}")
    return found


def _pop(stack: list[int]) -> int:
    return stack.pop()


def _signed(value: int) -> int:
    return value - (1 << 64) if value & _SIGN else value


def _binary(compute: Callable[[int, int], int]) -> Operation:
    def operation(stack: list[int], operand: int, context: Context) -> None:
        right = stack.pop()
        stack[-1] = compute(stack[-1], right) & _MASK

    return operation


def _unary(compute: Callable[[int, int], int]) -> Operation:
    """`compute` takes the value and the operand."""

    def operation(stack: list[int], operand: int, context: Context) -> None:
        stack[-1] = compute(stack[-1], operand) & _MASK

    return operation


def _signed_binary(compute: Callable[[int, int], int]) -> Operation:
    return _binary(lambda left, right: compute(_signed(left), _signed(right)))


def _divided(left: int, right: int) -> int:
    """Towards zero, as in C."""
    if not right:
        raise AgentError("the expression divides by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    return left - _divided(left, right) * right


def _reference(width: int) -> Operation:
    def operation(stack: list[int], operand: int, context: Context) -> None:
        stack[-1] = int.from_bytes(context.read(stack[-1], width), "little")

    return operation


def _sign_extended(value: int, bits: int) -> int:
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def _push(stack: list[int], operand: int, context: Context) -> None:
    stack.append(operand)


def _register(stack: list[int], operand: int, context: Context) -> None:
    stack.append(context.register(operand))


def _goto(stack: list[int], operand: int, context: Context) -> int:
    return operand


def _if_goto(stack: list[int], operand: int, context: Context) -> int | None:
    return operand if stack.pop() else None


def _end(stack: list[int], operand: int, context: Context) -> int:
    return _END


def _runs_out(stack: list[int], operand: int, context: Context) -> int:
    raise AgentError("the expression runs past its last operation")


def _dup(stack: list[int], operand: int, context: Context) -> None:
    stack.append(stack[-1])


def _drop(stack: list[int], operand: int, context: Context) -> None:
    stack.pop()


def _swap(stack: list[int], operand: int, context: Context) -> None:
    stack[-1], stack[-2] = stack[-2], stack[-1]


def _pick(stack: list[int], operand: int, context: Context) -> None:
    stack.append(stack[-1 - operand])


def _rot(stack: list[int], operand: int, context: Context) -> None:
    """a b c, with c on top, become c a b."""
    stack[-3], stack[-2], stack[-1] = stack[-1], stack[-3], stack[-2]


def _get_variable(stack: list[int], operand: int, context: Context) -> None:
    stack.append(context.variable(operand) & _MASK)


def _set_variable(stack: list[int], operand: int, context: Context) -> None:
    context.set_variable(operand, stack[-1])


def _trace_variable(stack: list[int], operand: int, context: Context) -> None:
    context.collect_variable(operand)


def _trace(stack: list[int], operand: int, context: Context) -> None:
    length = stack.pop()
    context.collect(stack.pop(), length)


def _trace_quick(stack: list[int], operand: int, context: Context) -> None:
    context.collect(stack[-1], operand)


def _trace_string(stack: list[int], operand: int, context: Context) -> None:
    """Memory up to a zero byte, which is included, or to where it cannot be read: that is no error, as in `_trace`."""
    most = stack.pop()
    address = stack.pop()
    length, byte = 0, b""
    while length < min(most, MOST_BYTES) and byte != b"\0":
        try:
            byte = context.read(address + length & _MASK, 1)
        except AgentError:
            break
        length += 1
    context.collect(address, length)


_ABSENT: Final = dict.fromkeys((0x01, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F), "floating-point numbers are not computed with")

# code: name, bytes of operand, what it does; GDB manual, "Bytecode Descriptions"
_OPERATIONS: Final[dict[int, tuple[str, int, Operation]]] = {
    0x02: ("add", 0, _binary(operator.add)),
    0x03: ("sub", 0, _binary(operator.sub)),
    0x04: ("mul", 0, _binary(operator.mul)),
    0x05: ("div_signed", 0, _signed_binary(_divided)),
    0x06: ("div_unsigned", 0, _binary(_divided)),
    0x07: ("rem_signed", 0, _signed_binary(_remainder)),
    0x08: ("rem_unsigned", 0, _binary(_remainder)),
    0x09: ("lsh", 0, _binary(lambda value, by: value << by if by < 64 else 0)),
    0x0A: ("rsh_signed", 0, _binary(lambda value, by: _signed(value) >> min(by, 63))),
    0x0B: ("rsh_unsigned", 0, _binary(lambda value, by: value >> min(by, 64))),
    0x0C: ("trace", 0, _trace),
    0x0D: ("trace_quick", 1, _trace_quick),
    0x0E: ("log_not", 0, _unary(lambda value, _: not value)),
    0x0F: ("bit_and", 0, _binary(operator.and_)),
    0x10: ("bit_or", 0, _binary(operator.or_)),
    0x11: ("bit_xor", 0, _binary(operator.xor)),
    0x12: ("bit_not", 0, _unary(lambda value, _: ~value)),
    0x13: ("equal", 0, _binary(operator.eq)),
    0x14: ("less_signed", 0, _signed_binary(operator.lt)),
    0x15: ("less_unsigned", 0, _binary(operator.lt)),
    0x16: ("ext", 1, _unary(_sign_extended)),
    0x17: ("ref8", 0, _reference(1)),
    0x18: ("ref16", 0, _reference(2)),
    0x19: ("ref32", 0, _reference(4)),
    0x1A: ("ref64", 0, _reference(8)),
    0x20: ("if_goto", 2, _if_goto),
    0x21: ("goto", 2, _goto),
    0x22: ("const8", 1, _push),
    0x23: ("const16", 2, _push),
    0x24: ("const32", 4, _push),
    0x25: ("const64", 8, _push),
    0x26: ("reg", 2, _register),
    0x27: ("end", 0, _end),
    0x28: ("dup", 0, _dup),
    0x29: ("pop", 0, _drop),
    0x2A: ("zero_ext", 1, _unary(lambda value, bits: value & (1 << bits) - 1)),
    0x2B: ("swap", 0, _swap),
    0x2C: ("getv", 2, _get_variable),
    0x2D: ("setv", 2, _set_variable),
    0x2E: ("tracev", 2, _trace_variable),
    0x2F: ("tracenz", 0, _trace_string),
    0x30: ("trace16", 2, _trace_quick),
    0x32: ("pick", 1, _pick),
    0x33: ("rot", 0, _rot),
    0x34: ("printf", 3, _end),  # what it does depends on its format
}

_NAMES: Final = {name: (number, width) for number, (name, width, _) in _OPERATIONS.items()}
