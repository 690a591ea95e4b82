# SPDX-License-Identifier: GPL-2.0-or-later
"""Agent code for fetch arguments: the C core or the evaluator fetches them at a hit (process_fetch_insn)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from armprobe.expressions.bytecode import assemble, width
from armprobe.probes.record import REGISTERS

from .fetch import FetchArgument, Instruction, Op

_PSTATE: Final = 33  # GDB's number for cpsr
_SP: Final = 31
_STACK_BITS: Final = 0x3FFF  # of an address within a stack of THREAD_SIZE bytes
_USER_BITS: Final = 48  # of an address below TASK_SIZE
_ARGUMENT_REGISTERS: Final = 8
_Code = list[tuple[str, int]]

DEREFERENCES: Final = (Op.DEREFERENCE, Op.USER_DEREFERENCE)
_STORES_FROM_USER: Final = (Op.STORE_USER_MEMORY, Op.STORE_USER_STRING)
_IS_KERNEL: Final[_Code] = [("dup", 0), ("const8", _USER_BITS), ("rsh_unsigned", 0)]
_TO_FAULT: Final = -1  # as the operand of a jump: to where the value is 0


def parts(argument: FetchArgument) -> tuple[list[Instruction], Instruction]:
    """The instructions that load and dereference a value, and the one that stores it."""
    code = [each for each in argument.code if each.op not in (Op.SYMBOL, Op.BIT_FIELD, Op.ARRAY)]
    return code[:-1], code[-1]


def value_code(loads: Sequence[Instruction]) -> bytes | None:
    """Code for the value of `loads`, 0 where memory is not the kernel's or the user's, None if they have no number."""
    code = _loaded(loads)
    return None if code is None else _finished(code)


def address_code(loads: Sequence[Instruction], store: Instruction) -> bytes | None:
    """Code for the address that `store` reads from, 0 where it cannot."""
    code = _loaded(loads)
    if code is None:
        return None
    return _finished([*code, *_plus(int(store.operand)), *_checked(store)])


def element_code(loads: Sequence[Instruction], store: Instruction, element: int) -> bytes | None:
    """Code for the address of a string of an array, which has pointers to them."""
    last = loads[-1]
    if last.op not in DEREFERENCES:
        return address_code(loads, store)
    code = _loaded(loads[:-1])
    if code is None:
        return None
    return _finished([*code, *_dereferenced(last.op, int(last.operand) + 8 * element), *_checked(store)])


def _loaded(loads: Sequence[Instruction]) -> _Code | None:
    first, *rest = loads
    code = source(first)
    if code is not None:
        for each in rest:
            code += _dereferenced(each.op, int(each.operand))
    return code


def source(load: Instruction) -> _Code | None:
    """Operations that push what `load` has, None if it has no number."""
    match load.op:
        case Op.REGISTER:
            name = str(load.operand)
            return [("reg", _PSTATE if name == "pstate" else REGISTERS.index(name))]
        case Op.STACK_POINTER:
            return [("reg", _SP)]
        case Op.RETURN_VALUE:
            return [("reg", 0)]
        case Op.IMMEDIATE:
            return [("const64", int(load.operand))]
        case Op.ARGUMENT:
            number = int(load.operand)
            return [("reg", number)] if number < _ARGUMENT_REGISTERS else [("const8", 0)]
        case Op.STACK:
            return _stack(8 * int(load.operand))
    return None


def _stack(offset: int) -> _Code:
    """The word at an offset from the stack pointer, or 0 outside of the stack (regs_get_kernel_stack_nth)."""
    same: _Code = [("reg", _SP), ("bit_xor", 0), ("const16", _STACK_BITS), ("bit_not", 0), ("bit_and", 0)]
    inside: _Code = [("ref64", 0), ("goto", 2)]
    return [("reg", _SP), *_plus(offset), ("dup", 0), *same, ("if_goto", 2), *inside, ("pop", 0), ("const8", 0)]


def _plus(offset: int) -> _Code:
    return [("const64", offset), ("add", 0)] if offset else []


def _dereferenced(op: Op, offset: int) -> _Code:
    check = _refuse_kernel() if op is Op.USER_DEREFERENCE else []
    return [*_plus(offset), *check, ("ref64", 0)]


def _refuse_kernel() -> _Code:
    return [*_IS_KERNEL, ("if_goto", _TO_FAULT)]


def _checked(store: Instruction) -> _Code:
    """The checks of the address that `store` reads from.

    An empty string of the user's is a fault: strncpy_from_user_nofault() does not count its NUL.
    """
    check = _refuse_kernel() if store.op in _STORES_FROM_USER else []
    if store.op not in (Op.STORE_STRING, Op.STORE_USER_STRING):
        return check
    empty: _Code = [("dup", 0), ("ref8", 0), ("if_goto", 1), ("goto", _TO_FAULT)]
    return [*check, *empty] if check else [*_IS_KERNEL, ("if_goto", len(empty)), *empty]


def _finished(code: _Code) -> bytes:
    """The bytes of `code`. The operand of a jump is the number of operations to skip."""
    whole: _Code = [*code, ("end", 0), ("const8", 0), ("end", 0)]
    offsets = [0]
    for name, _ in whole:
        offsets.append(offsets[-1] + width(name))
    fault = len(whole) - 2
    jumps = ("goto", "if_goto")
    return assemble(
        (name, offsets[fault if operand == _TO_FAULT else at + 1 + operand] if name in jumps else operand)
        for at, (name, operand) in enumerate(whole)
    )
