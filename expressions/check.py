# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker: makes the typed tree of an expression by what names mean and by C's conversions (ISO C, 6.3)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from armprobe.kernel import types as declared
from armprobe.kernel.types import Parameter
from armprobe.kernel.variables import Variable
from armprobe.machine import MachineError

from . import tree
from .arguments import Unknown, argument, result
from .environment import POSITION
from .errors import ExpressionError, wrong
from .fold import fold
from .members import is_text, member
from .scope import Scope
from .tree import Node
from .typed import Binary, Constant, Convert, Load, Logical, Register, Unary, Value
from .types import (
    CHARACTER,
    QUALIFIERS,
    S32,
    S64,
    U32,
    U64,
    Array,
    Integer,
    Pointer,
    Struct,
    Type,
    Unusable,
    Void,
    common,
    named,
    of_declared,
    promoted,
)
from .unknown_names import unknown_arguments, unknown_name, unknown_register

_BITS: Final = frozenset(("&", "|", "^"))  # not for pointers in C; here those are u64
_COMPARISONS: Final = frozenset(("==", "!=", "<", ">", "<=", ">="))


_REGISTER: Final = re.compile(r"[xw](\d|[12]\d|30)")
_REGISTERS: Final = ("sp", "pc", "cpsr")
_OF_TASK: Final = {"$comm": "comm", "$pid": "pid", "$tgid": "tgid"}
_AFFINITY: Final = 0xFF  # MPIDR_EL1.Aff0, which numbers the CPUs (Arm ARM, D19.2.100)


def check(node: Node, text: str, scope: Scope) -> Value:
    """The typed tree of `node`, which is part of `text` and has a number. Raises ExpressionError."""
    return _Checker(text, scope).number(node)


def check_any(node: Node, text: str, scope: Scope) -> Value:
    """The same, also of a struct or an array, whose tree is a `Load` or `InRegisters`. Raises ExpressionError."""
    return _Checker(text, scope).value(node)


def is_type(scope: Scope, name: str) -> bool:
    """Whether `name` is a type's where it could also be another one's: a register, an argument."""
    if _REGISTER.fullmatch(name) or scope.register(name) is not None:
        return False
    called = scope.called
    try:
        if scope.field(name) is not None:
            return False
        if called is not None and called.prototype is not None and _has(called.prototype.parameters, name):
            return False
        return scope.type(name) is not None
    except MachineError:  # there are no types
        return False


def is_reserved(name: str) -> bool:
    """Whether `name` is a register's or a result's, also where an argument is called so."""
    return bool(_REGISTER.fullmatch(name)) or name in ("retval", "pstate", *_REGISTERS)


def _has(parameters: list[Parameter], name: str) -> bool:
    return any(each.name == name for each in parameters)


class _Checker:
    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope

    def _wrong(self, node: Node, what: str) -> ExpressionError:
        return wrong(self._text, node.at, what)

    @contextlib.contextmanager
    def _explained(self, node: Node) -> Iterator[None]:
        """Raise errors of the guest's types and symbols as errors at `node`."""
        try:
            yield
        except MachineError as error:
            raise ExpressionError(str(error), self._text, node.at) from None

    def number(self, node: Node) -> Value:
        """The typed tree of `node`, whose value is a number."""
        return self._number(node, self.value(node))

    def _number(self, node: Node, value: Value) -> Value:
        """`value` as a number: the address of an array's first element or of a variable that is a struct, or itself."""
        if isinstance(value.type, Array) and isinstance(value, Load):
            return fold(Convert(Pointer.to(value.type.target), value.address))
        if isinstance(node, tree.Name) and isinstance(value, Load) and isinstance(value.type, Struct):
            named = value.address
            if isinstance(named, Constant):
                return named
        if isinstance(value.type, Struct):
            raise self._wrong(node, f"a {value.type.name} is not a number: name a member of it")
        if isinstance(value.type, Unusable | Array):
            why = value.type.why if isinstance(value.type, Unusable) else "an array has no number"
            raise self._wrong(node, f"a {value.type.name} cannot be used here: {why}")
        return value

    def value(self, node: Node) -> Value:
        """The typed tree of `node`. A loop follows left operands, which can nest as deep as the text is long."""
        above: list[tree.Binary | tree.Subscript | tree.Member] = []
        while isinstance(node, tree.Binary | tree.Subscript | tree.Member):
            above.append(node)
            node = node.left
        value = fold(self._operand(node))
        for each in reversed(above):
            if isinstance(each, tree.Member):
                value = self._member(each.at, value, each.path)
            elif isinstance(each, tree.Subscript):
                value = self._number(each.left, value)
                value = self._load(each, self._sum(each, "+", value, self.number(each.index)))
            elif isinstance(each.right, tree.String):
                value = self._is_text(each, value, each.right)
            else:
                value = fold(self._binary(each, self._number(each.left, value), self.number(each.right)))
        return value

    def _operand(self, node: Node) -> Value:
        match node:
            case tree.Number():
                return _number(node)
            case tree.Name():
                return self._name(node)
            case tree.AddressOf():
                return self._address(node, node.operand)
            case tree.Cast():
                return self._cast(node)
            case tree.Unary():
                return self._unary(node, self.number(node.operand))
            case tree.SizeOf():
                return self._size(node)
            case tree.ContainerOf():
                return self._container(node)
            case tree.PerCpu():
                return self._per_cpu(node)
            case tree.String():
                raise self._wrong(node, 'a text can only be compared, as in $comm == "dd"')
        raise AssertionError(node)

    # Names

    def _name(self, node: tree.Name) -> Value:
        """A register, a word of ours, an argument, a variable or a symbol. The names of symbols can have dots."""
        head, dot, path = node.name.partition(".")
        found = self._field(node, head) or self._special(node, head)
        if found is None and not head.startswith("$"):
            found = self._argument(node, head) or self._variable(node, head)
        if found is not None:
            return self._member(node.at + len(head) + 1, fold(found), path) if dot else found
        if node.name.startswith("$"):
            return self._register(node, node.name[1:])
        return self._symbol(node, node.name)

    def _field(self, node: Node, name: str) -> Value | None:
        with self._explained(node):
            return self._scope.field(name)

    def _special(self, node: Node, name: str) -> Value | None:
        """What a name means that is not one of the guest's; None for another."""
        bare = name.removeprefix("$")
        if bare == "retval":
            return self._result(node)
        if _REGISTER.fullmatch(bare):
            register = Register(S64, int(bare[1:]))
            return register if bare[0] == "x" else Convert(S32, register)
        if bare == "pstate":
            return self._register(node, "cpsr")
        if bare in _REGISTERS:
            return self._register(node, bare)
        if name == "$task":
            return self._task(node)
        if name in _OF_TASK:
            return self._member(node.at, self._task(node), _OF_TASK[name])
        if name == "$cpu":
            return Convert(S32, Binary(U64, "&", self._register(node, "mpidr_el1"), Constant(U64, _AFFINITY)))
        if name == "$_position":
            return self._register(node, POSITION)
        if name == "$elapsed":
            if not self._scope.returned:
                raise self._wrong(node, "the time is known only where a function returns: put a kretprobe on it")
            return self._register(node, "elapsed")
        return None

    def _result(self, node: Node) -> Value:
        if not self._scope.returned:
            where = "put a kretprobe on it; behind a finish it is $x0"
            raise self._wrong(node, f"retval is known only where a function returns: {where}")
        called = self._scope.called
        if called is None or called.prototype is None or isinstance(called.prototype.target.resolve(), declared.Void):
            return Register(S64, 0)
        with self._explained(node):
            try:
                return result(called.prototype)
            except Unknown as error:
                raise self._wrong(node, f"there is no retval: {error}") from None

    def _task(self, node: Node) -> Value:
        if not self._scope.in_kernel:
            raise self._wrong(node, "the task is known only in the kernel: at EL0, SP_EL0 is the program's own")
        kind = self._named_type(node, "struct task_struct")
        if kind is None:
            raise self._wrong(node, "the tasks of this guest are not known")
        return Convert(Pointer.to(kind), self._register(node, "sp_el0"))

    def _argument(self, node: Node, name: str) -> Value | None:
        """The argument of that name; None if the function has none. Where it is not known, an error rather than that"""
        called = self._scope.called
        if called is None or called.prototype is None:
            return None
        with self._explained(node):
            if called.elsewhere:
                if not _has(called.prototype.parameters, name):
                    return None
                why = f"{name} is an argument of {called.name}, which is known only at its entry: {called.elsewhere}"
                raise self._wrong(node, why)
            try:
                return argument(called.prototype, name)
            except Unknown as error:
                raise self._wrong(node, f"the value of {name} is not known: {error}") from None

    def _variable(self, node: Node, name: str) -> Value | None:
        """The global variable of that name; None if there is none. One without a type is refused."""
        with self._explained(node):
            found = self._scope.variable(name)
            if found is None:
                return None
            if found.type is None:
                raise self._wrong(node, found.why + unknown_arguments(self._scope))
            kind = of_declared(found.type)
            return Load(kind, Constant(Pointer.to(kind), found.address))

    def _register(self, node: Node, name: str) -> Value:
        number = self._scope.register(name)
        if number is None:
            raise ExpressionError(unknown_register(name, self._scope), self._text, node.at)
        return Register(U64, number)

    def _symbol(self, node: Node, name: str) -> Value:
        try:
            return Constant(U64, self._scope.symbol(name))
        except MachineError as error:
            found = None
            with contextlib.suppress(MachineError):
                found = self._scope.enumerator(name)
            if found is not None:
                kind = of_declared(found[0])
                return Constant(kind, found[1] & (1 << 64) - 1)
            raise ExpressionError(unknown_name(name, str(error), self._scope), self._text, node.at) from None

    # Types, members, addresses

    def _named_type(self, node: Node, name: str) -> Type | None:
        with self._explained(node):
            found = self._scope.type(name)
            return None if found is None else of_declared(found)

    def _type(self, node: tree.TypeName) -> Type:
        words = [word for word in node.words if word not in QUALIFIERS]
        kind, name = named(words), " ".join(words)
        if kind is None:
            kind = self._named_type(node, name)
        if kind is None:
            raise self._wrong(node, f"'{name}' is not a known type: write u8 to u64, s8 to s64 or one of the guest's")
        for _ in range(node.stars):
            kind = Pointer.to(kind)
        return kind

    def _size(self, node: tree.SizeOf) -> Value:
        operand = node.operand
        kind = self._type(operand) if isinstance(operand, tree.TypeName) else self.value(operand).type
        with self._explained(operand):
            return Constant(U64, kind.size)

    def _container(self, node: tree.ContainerOf) -> Value:
        kind = self._type(node.type)
        if not isinstance(kind, Struct):
            raise self._wrong(
                node.type, "container_of needs a struct, as in container_of(x0, struct task_struct, tasks)"
            )
        with self._explained(node):
            offset = Constant(U64, kind.layout.offset(node.member))
        pointer = Convert(U64, self.number(node.pointer))
        return Convert(Pointer.to(kind), Binary(U64, "-", pointer, offset))

    def _per_cpu(self, node: tree.PerCpu) -> Value:
        """A variable that each CPU has, or the address of a CPU's own for a pointer that is for each."""
        operand = node.operand
        named = operand.operand if node.pointer and isinstance(operand, tree.AddressOf) else operand
        variable, value = self._variable_of(named), self.value(named)
        if variable is not None and variable.per_cpu and isinstance(value, Load):
            address = self._on_cpu(node, value.address)
            return Convert(Pointer.to(value.type), address) if node.pointer else Load(value.type, address)
        one = variable is not None and isinstance(value, Load) and isinstance(value.address, Constant)
        if not node.pointer or (named is not operand and one):
            raise self._wrong(operand, "this is no variable that each CPU has, nor an element or member of one")
        pointer = self.number(operand)
        if not isinstance(pointer.type, Pointer):
            raise self._wrong(operand, "this is no pointer: convert it first, as in this_cpu_ptr((u64 *)x0)")
        if not self._scope.cpu_offset:
            raise self._wrong(node, "this guest has no variables that each CPU has")
        offset = self._register(node, self._scope.cpu_offset)
        return self._on_cpu(node, Binary(pointer.type, "+", pointer, offset))

    def _variable_of(self, node: Node) -> Variable | None:
        """The global variable that `node`, an element or a member begins with; None for other nodes."""
        while isinstance(node, tree.Member | tree.Subscript):
            node = node.left
        if not isinstance(node, tree.Name):
            return None
        name = node.name.partition(".")[0]
        with self._explained(node):
            return None if self._argument(node, name) else self._scope.variable(name)

    def _on_cpu(self, node: tree.PerCpu, address: Value) -> Value:
        """`address`, which is the only CPU's. For the number of another one it is NULL."""
        if node.cpu is None:
            return address
        cpu = self.number(node.cpu)
        if not isinstance(cpu, Constant):
            there = Convert(U64, Binary(S32, "==", Convert(U64, cpu), Constant(U64, 0)))
            return Convert(address.type, Binary(U64, "*", Convert(U64, address), there))
        if cpu.number:
            raise self._wrong(node.cpu, "the machine has one CPU, whose number is 0")
        return address

    def _member(self, at: int, value: Value, path: str) -> Value:
        """A member of a struct, and members of members; through pointers to structs too, as gdb takes `.`.

        `at` is the offset of `path` in the text.
        """
        for name in path.split("."):
            kind = value.type
            if isinstance(kind, Pointer) and isinstance(kind.target, Struct):
                value = Load(kind.target, value)
            if not isinstance(value.type, Struct):
                what = "this has no members" if kind is U64 or kind is S64 else f"a {kind.declared} has no members"
                raise wrong(self._text, at, f"{what}: convert it, as in ((struct file *)x0)->f_flags")
            try:
                value = fold(member(value, name))
            except MachineError as error:
                raise ExpressionError(str(error), self._text, at) from None
            at += len(name) + 1
        return value

    def _address(self, node: Node, operand: Node) -> Value:
        if isinstance(operand, tree.Name) and not operand.name.startswith("$"):
            name = operand.name.partition(".")[0]
            if self._argument(operand, name) is None:
                with self._explained(node):
                    found = self._scope.variable(name)
                if found is not None and found.type is None and name == operand.name:
                    return Constant(U64, found.address)
                if found is None:
                    return self._symbol(node, operand.name)
        value = self.value(operand)
        if not isinstance(value, Load):
            raise self._wrong(node, "it is not in memory by itself, so it has no address")
        return Convert(Pointer.to(value.type), value.address)

    def _is_text(self, node: tree.Binary, value: Value, text: tree.String) -> Value:
        kind = value.type
        element = kind.target if isinstance(kind, Array | Pointer) else None
        if node.operator not in ("==", "!=") or not isinstance(element, Integer) or element.bits != CHARACTER:
            raise self._wrong(node, 'a text can only be compared with characters, by == and !=, as in $comm == "dd"')
        data = text.text.encode("utf-8", "surrogateescape")
        with self._explained(text):
            same = is_text(value, data)
        return same if node.operator == "==" else Unary(S32, "!", same)

    # Operators

    def _cast(self, node: tree.Cast) -> Value:
        kind = self._type(node.type)
        if isinstance(kind, Pointer) and isinstance(node.operand, tree.Name):
            with self._explained(node):
                found = self._scope.variable(node.operand.name)
            if found is not None and found.type is None:
                return Convert(kind, Constant(U64, found.address))
        if isinstance(kind, Void):
            raise self._wrong(node, "nothing can be converted to void")
        if not isinstance(kind, Integer | Pointer):
            raise self._wrong(node.type, f"nothing can be converted to a {kind.declared}: convert to a pointer to it")
        return Convert(kind, self.number(node.operand))

    def _unary(self, node: tree.Unary, operand: Value) -> Value:
        if node.operator == "*":
            return self._load(node, operand)
        if node.operator == "!":
            return Unary(S32, "!", operand)
        if isinstance(operand.type, Pointer):
            raise self._wrong(node, f"'{node.operator}' is not for pointers: convert it to u64 first")
        operand = Convert(promoted(operand.type), operand)
        return operand if node.operator == "+" else Unary(operand.type, node.operator, operand)

    def _load(self, node: Node, address: Value) -> Value:
        if not isinstance(address.type, Pointer) or isinstance(address.type.target, Void):
            raise self._wrong(node, "the type of the memory is not known: write *(u64 *)x1, or another type")
        return Load(address.type.target, address)

    def _binary(self, node: tree.Binary, left: Value, right: Value) -> Value:
        operator = node.operator
        if operator in ("&&", "||"):
            return Logical(S32, operator, left, right)
        if isinstance(left.type, Pointer) or isinstance(right.type, Pointer):
            if operator in ("+", "-"):
                return self._sum(node, operator, left, right)
            if operator not in _COMPARISONS and operator not in _BITS:
                raise self._wrong(node, f"'{operator}' is not for pointers: convert them to u64 first")
        if operator in ("<<", ">>"):
            kind = promoted(left.type)
            return Binary(kind, operator, Convert(kind, left), Convert(promoted(right.type), right))
        kind = common(left.type, right.type)
        result = S32 if operator in _COMPARISONS else kind
        return Binary(result, operator, Convert(kind, left), Convert(kind, right))

    def _sum(self, node: Node, operator: str, left: Value, right: Value) -> Value:
        """The sum or difference of a pointer and an integer, or the difference of two pointers."""
        if operator == "+" and not isinstance(left.type, Pointer):
            left, right = right, left
        if not isinstance(left.type, Pointer):
            raise self._wrong(node, "only a pointer can be subscripted or have a pointer subtracted from it")
        with self._explained(node):
            size = Constant(S64, left.type.target.size)
        if not isinstance(right.type, Pointer):
            return Binary(left.type, operator, left, fold(Binary(S64, "*", Convert(S64, right), size)))
        if operator == "+" or right.type != left.type:
            raise self._wrong(node, "these pointers cannot be added or subtracted")
        if not size.number:
            raise self._wrong(node, f"a {left.type.target.declared} has no bytes")
        return Binary(S64, "/", Binary(S64, "-", left, right), size)


def _number(node: tree.Number) -> Value:
    """A constant of the first type that can represent it (ISO C, 6.4.4.1): unsigned long above LONG_MAX."""
    unsigned = "u" in node.suffix
    for kind in (S32, U32, S64, U64):
        if (
            node.value < 1 << kind.bits - kind.signed
            and (kind.bits == 64 or "l" not in node.suffix)
            and not (unsigned and kind.signed)
            and (kind.signed or unsigned or kind is U64 or not node.decimal)
        ):
            return Constant(kind, node.value)
    raise AssertionError(node)  # the parser refuses numbers of more than 64 bits
