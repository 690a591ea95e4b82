# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields of an event as programs of the C core, for filters and histograms (process_fetch_insn)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from armprobe.expressions.bytecode import OPERATIONS
from armprobe.expressions.native import NeedsPython, compile_value
from armprobe.expressions.program import Value
from armprobe.machine import Machine
from armprobe.machine.native.histogram import Stack
from armprobe.machine.native.program import Number, Operation, Program, Text
from armprobe.probes.scope import GuestScope

from .fetch import FetchArgument, Op
from .fetch_code import address_code, element_code, parts, value_code
from .filter_fields import TASK_COMM_LEN, FilterField, Kind
from .recorded import longest_string

if TYPE_CHECKING:
    from .event import EventProbe

_NUMBERS: Final = {name: number for number, (name, _) in OPERATIONS.items()}
_MASK: Final = (1 << 64) - 1
_LINK: Final = "x30"
_IN_MEMORY: Final = (Op.STORE_MEMORY, Op.STORE_USER_MEMORY)
_STRINGS: Final = (Op.STORE_STRING, Op.STORE_USER_STRING)
_SIZES: Final = (1, 2, 4, 8)


class Fields(Protocol):
    """The fields of an event, as programs."""

    def number(self, field: FilterField) -> Program:
        """The bytes of a field as one unsigned number of its size (`number_of`). Raises NeedsPython."""
        ...

    def text(self, field: FilterField) -> Text:
        """A string (`string_of`). Raises NeedsPython."""
        ...

    def stack(self) -> Stack:
        """The stack of a hit. Raises NeedsPython."""
        ...


def operation(name: str, operand: int = 0) -> Operation:
    """The operation that has a name in GDB's manual."""
    return Operation(_NUMBERS[name], operand & _MASK)


def made(*operations: Operation, operands: tuple[object, ...] = ()) -> Program:
    """The program of some operations and an end."""
    return Program([*operations, operation("end")], operands)


def value_of(program: Program) -> Operation:
    """The operation that has the value of another program, which must be kept."""
    return Operation(Number.VALUE, program.address)


class ProbeFields:
    """The fields of an event's probe: registers and memory at a hit."""

    def __init__(self, probe: EventProbe, machine: Machine, most: int) -> None:
        """`most` is the number of bytes that are recorded of a hit."""
        self._probe = probe
        self._scope = GuestScope(machine, None)
        self._longest = longest_string(probe.definition, most)
        self._arguments = {each.name: each for each in probe.arguments}

    def number(self, field: FilterField) -> Program:
        """See `Fields`."""
        argument = self._arguments.get(field.name)
        return self._common(field) if argument is None else self._argument(argument, field)

    def _common(self, field: FilterField) -> Program:
        address = None if self._probe.probe is None else self._probe.probe.addr
        match field.name:
            case "common_type":
                return made(operation("const64", self._probe.event.number))
            case "common_flags" | "common_preempt_count":
                return made(operation("const8", 0))
            case "common_pid":
                return made(*self._task(1), operation("ref32"))
            case "__probe_ip" | "__probe_func" if address is not None:
                return made(operation("const64", address))
            case "__probe_ret_ip":
                return made(Operation(Number.CALLER))
        raise NeedsPython(f"it reads {field.name}")

    def _task(self, member: int) -> tuple[Operation, ...]:
        """The address of the name (0) or the number (1) of the task."""
        if self._scope.task is None:
            raise NeedsPython("it reads the task, which is not known")
        return Operation(Number.TASK), operation("const64", self._scope.task[member]), operation("add")

    def _argument(self, argument: FetchArgument, field: FilterField) -> Program:
        loads, store = parts(argument)
        if field.size not in _SIZES or argument.type.is_string:
            raise NeedsPython(f"{argument.name} is no number")
        if argument.count and argument.bit_field is not None:
            raise NeedsPython(f"{argument.name} is an array of bit-fields")
        if self._probe.definition.is_return and loads[0].operand == _LINK:
            raise NeedsPython("x30 is the trampoline's address there")
        if store.op is Op.STORE:
            raw = self._compiled(argument.text, value_code(loads))
            code = [value_of(raw)]
        elif store.op in _IN_MEMORY:
            if loads[0].op is Op.IMMEDIATE and len(loads) == 1:
                raise NeedsPython("it reads text, where breakpoints may be")
            raw = self._compiled(argument.text, address_code(loads, store))
            ref = operation(f"ref{8 * field.size}")
            code = [value_of(raw), operation("dup"), operation("if_goto", 4), operation("end"), ref]
        else:
            raise NeedsPython(f"{argument.name} is no number")
        bits = 8 * field.size
        if argument.bit_field is not None:
            left, right = argument.bit_field.left, argument.bit_field.right
            code += [operation("const8", left), operation("lsh"), operation("zero_ext", bits)]
            code += [operation("const8", right), operation("rsh_unsigned")]
        return made(*code, operation("zero_ext", bits), operands=(raw,))

    def text(self, field: FilterField) -> Text:
        """See `Fields`."""
        if field.kind is Kind.COMM:
            return Text(made(*self._task(0)), TASK_COMM_LEN - 1, TASK_COMM_LEN)
        argument = self._arguments.get(field.name)
        if argument is None or field.kind is not Kind.DYN_STRING:
            raise NeedsPython(f"it reads {field.name}")
        loads, store = parts(argument)
        if loads[0].op is Op.COMM:
            return Text(made(*self._task(0)), TASK_COMM_LEN)
        if store.op not in _STRINGS:
            raise NeedsPython(f"{argument.name} is not in memory")
        code = element_code(loads, store, 0) if argument.count else address_code(loads, store)
        return Text(self._compiled(argument.text, code), self._longest)

    def stack(self) -> Stack:
        """See `Fields`."""
        probe = self._probe.probe
        found = None if probe is None or probe.addr is None else self._probe.symbols.at(probe.addr)
        if found is None or found[1] or probe is None or probe.addr is None:
            raise NeedsPython("within a function, its frame has to be known")
        return Stack(0 if self._probe.definition.is_return else probe.addr)

    def _compiled(self, text: str, code: bytes | None) -> Program:
        if code is None:
            raise NeedsPython(f"{text} is no number")
        return compile_value(Value(text, code, self._scope.registers))
