# SPDX-License-Identifier: GPL-2.0-or-later
"""What the probes of an event record, and the values of its arguments in a recorded hit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Memory
from armprobe.expressions.program import Value
from armprobe.machine import Machine
from armprobe.machine.core.instruction_words import brk
from armprobe.probes.record import REGISTERS, Hit, Stage
from armprobe.probes.recording import Record
from armprobe.probes.scope import GuestScope
from armprobe.probes.symbol_text import symbol_and_size

from .definition import Definition
from .fetch import FetchArgument, Instruction, Op
from .fetch_code import address_code, element_code, parts, value_code

if TYPE_CHECKING:
    from .event import EventProbe

Number = int | None
"""None for what could not be read."""
Element = int | bytes | None
FieldValue = Element | tuple[Element, ...]
"""The value of a field: a number, the bytes of a string without its NUL, or None; of an array a tuple of those."""

_LONGEST_STRING: Final = 4096  # MAX_STRING_SIZE
_MOST_STRINGS: Final = 16384  # bytes of all strings of a hit
_SHORTEST: Final = 64
_MASK: Final = (1 << 64) - 1
_BREAKPOINT: Final = brk(4).to_bytes(4, "little")  # KPROBES_BRK_IMM
_TRAMPOLINE: Final = "__kretprobe_trampoline"
_STRINGS: Final = (Op.STORE_STRING, Op.STORE_USER_STRING)


def record(definition: Definition, machine: Machine, most: int) -> Record:
    """What the probe of `definition` records: the registers, and `most` bytes of memory that its arguments need."""
    registers = GuestScope(machine, None).registers
    fields: dict[str, Memory] = {}
    longest = longest_string(definition, most)
    for argument in definition.arguments:
        for name, code, size in _memory(argument):
            if code is not None:
                address = Value(argument.text, code, registers)
                length = None if size is None else Value(str(size), _constant(size), registers)
                fields[name] = Memory(address, length, longest if size is None else size)
    at = Stage.RETURN if definition.is_return else Stage.PRE
    return Record(stages=[at], memory=fields, at=at)


def longest_string(definition: Definition, most: int) -> int:
    """The bytes of each string that are recorded of a hit, of which `most` bytes are recorded."""
    strings = sum(each.count or 1 for each in definition.arguments if each.type.is_string)
    room = min(_MOST_STRINGS, most - definition.size)
    return min(_LONGEST_STRING, max(room // max(strings, 1), _SHORTEST))


def _memory(argument: FetchArgument) -> Iterable[tuple[str, bytes | None, int | None]]:
    """The memory that is recorded for an argument: name, code for the address, and bytes, None for a string."""
    loads, store = parts(argument)
    if store.op in _STRINGS:
        if argument.count:
            for at in range(argument.count):
                yield f"{argument.name}[{at}]", element_code(loads, store, at), None
        else:
            yield argument.name, address_code(loads, store), None
    elif store.op in (Op.STORE_MEMORY, Op.STORE_USER_MEMORY):
        yield argument.name, address_code(loads, store), argument.size
    elif loads[-1].op is Op.DEREFERENCE:  # of a symstr
        yield argument.name, address_code(loads[:-1], loads[-1]), 8
    elif loads[0].op is Op.STACK:
        yield argument.name, _stack_address(loads[0]), 8


def _stack_address(load: Instruction) -> bytes | None:
    return address_code([Instruction(Op.STACK_POINTER)], Instruction(Op.STORE_MEMORY, 8 * int(load.operand)))


def _constant(number: int) -> bytes:
    code = value_code([Instruction(Op.IMMEDIATE, number)])
    assert code is not None
    return code


def value(probe: EventProbe, argument: FetchArgument, hit: Hit) -> FieldValue:
    """The value of an argument at a hit of `probe`."""
    loads, store = parts(argument)
    if argument.type.is_string:
        return _string(probe, argument, hit, loads, store)
    if store.op is Op.STORE:
        return _typed(argument, _loaded(probe, argument, hit, loads[0]))
    data = hit.data.get(argument.name)
    size = argument.type.size
    if not isinstance(data, bytes) or len(data) < argument.size:
        return (None,) * argument.count if argument.count else None
    if loads[0].op is Op.IMMEDIATE and len(loads) == 1:
        data = _with_breakpoint(data, int(loads[0].operand) + int(store.operand), hit.address)
    elements = [
        _typed(argument, int.from_bytes(data[at : at + size], "little")) for at in range(0, argument.size, size)
    ]
    return tuple(elements) if argument.count else elements[0]


def _string(
    probe: EventProbe, argument: FetchArgument, hit: Hit, loads: list[Instruction], store: Instruction
) -> FieldValue:
    if loads[0].op is Op.COMM:
        return b"" if hit.task is None else hit.task.comm.encode("utf-8", "surrogateescape")
    if loads[0].op is Op.TEXT:
        return str(loads[0].operand).encode("latin-1")
    if store.op is Op.STORE_SYMBOL:
        number = _loaded(probe, argument, hit, loads[0]) if len(loads) == 1 else _word(hit, argument.name)
        return None if number is None else symbol_and_size(probe.symbols, number).encode()
    if argument.count:
        return tuple(_text(hit, f"{argument.name}[{at}]") for at in range(argument.count))
    return _text(hit, argument.name)


def _text(hit: Hit, name: str) -> bytes | None:
    data = hit.data.get(name)
    return data.partition(b"\0")[0] if isinstance(data, bytes) else None


def _word(hit: Hit, name: str) -> Number:
    data = hit.data.get(name)
    return int.from_bytes(data, "little") if isinstance(data, bytes) else None


def _loaded(probe: EventProbe, argument: FetchArgument, hit: Hit, load: Instruction) -> Number:
    """What an argument without a dereference loads."""
    regs = hit.regs
    match load.op:
        case Op.IMMEDIATE:
            return int(load.operand)
        case Op.REGISTER if load.operand == "pstate":
            return regs.pstate
        case Op.REGISTER if load.operand == "x30" and hit.stage is Stage.RETURN:
            own = probe.symbols.get(_TRAMPOLINE)  # where the kernel's own probe would have returned to
            return regs.regs[30] if own is None else own.address
        case Op.REGISTER:
            return _register(hit, REGISTERS.index(str(load.operand)))
        case Op.STACK_POINTER:
            return regs.sp
        case Op.RETURN_VALUE:
            return regs.regs[0]
        case Op.ARGUMENT:
            return _register(hit, int(load.operand)) if int(load.operand) < 8 else 0
        case Op.STACK:
            found = _word(hit, argument.name)
            within = (regs.sp ^ regs.sp + 8 * int(load.operand)) & ~0x3FFF & _MASK == 0
            return found if within else 0
    raise AssertionError(load)


def _register(hit: Hit, number: int) -> int:
    return int.from_bytes(hit.general[8 * number : 8 * number + 8], "little")


def _with_breakpoint(data: bytes, address: int, place: int) -> bytes:
    """`data` at `address`, with the breakpoint that the kernel has at the `place` of a probe that is hit."""
    patched = bytearray(data)
    for at, byte in enumerate(_BREAKPOINT, start=place - address):
        if 0 <= at < len(patched):
            patched[at] = byte
    return bytes(patched)


def _typed(argument: FetchArgument, number: Number) -> Number:
    """A number as the type of an argument has it (fetch_store_raw, fetch_apply_bitfield)."""
    if number is None:
        return None
    bits = argument.type.size * 8
    mask = (1 << bits) - 1
    number &= mask
    if argument.bit_field is not None:
        number = (number << argument.bit_field.left & mask) >> argument.bit_field.right
    return number - (1 << bits) if argument.type.signed and number >> bits - 1 else number


def shown_value(probe: EventProbe, argument: FetchArgument, found: FieldValue) -> str:
    """A value as the trace has it (print_type_*)."""
    if isinstance(found, tuple):
        return "{" + ",".join(shown_value(probe, argument, each) for each in found) + "}"
    if found is None:
        return "(fault)"
    if isinstance(found, bytes):
        return f'"{found.decode("utf-8", "backslashreplace")}"'
    if argument.type.name == "symbol":
        return symbol_and_size(probe.symbols, found)
    return f"{found:#x}" if argument.type.name.startswith("x") else str(found)
