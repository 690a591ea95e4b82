# SPDX-License-Identifier: GPL-2.0-or-later
"""The C core's programs, against the evaluator in Python on the same registers and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

import pytest

from armprobe.expressions import AgentError, AgentExpression, Condition, Environment, ExpressionError, Note, Scope
from armprobe.expressions.native import NeedsPython, compile_expression, compile_note, compile_value
from armprobe.machine import Machine, MachineError, load
from armprobe.machine.board import RAM_BASE
from armprobe.machine.core.pstate import EL1H
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS
from armprobe.machine.native.program import Outcome, Reader, Variable, View, note_data, values
from armprobe.probes import Kprobes, Kretprobe, Stage
from armprobe.probes.guest_view import GuestView, HitView
from armprobe.probes.pt_regs import SavedRegs
from armprobe.stub.aarch64 import register_table
from tests.expressions import random_programs

M64: Final = (1 << 64) - 1
REGISTERS: Final = register_table(("sp_el0", "sp_el1", "tpidr_el1", "mpidr_el1")).sources
EXPRESSIONS: Final = 100_000 if "ARMPROBE_FUZZ" in os.environ else 10_000
PLACES: Final = 10
# The sentence of the evaluator for each outcome without a value. What the C core cannot read may be readable in Python.
WHY: Final = {
    Outcome.UNDERFLOW: "the expression takes more from the stack than there is",
    Outcome.RUNS_OUT: "the expression runs past its last operation",
    Outcome.ENDLESS: "the expression does not end within 65536 operations",
    Outcome.DIVIDES_BY_ZERO: "the expression divides by zero",
    Outcome.NO_REGISTER: "there is no register number 300",
    Outcome.DEEP: "the expression does not end within 65536 operations",  # a loop that pushes; others may have a value
}
UNREADABLE: Final = "neither memory nor a device|outside the 64-bit address space"


class Here(Scope):
    """The registers, and no symbols. No function has returned."""

    registers = REGISTERS
    returned = False

    def register(self, name: str) -> int | None:
        return REGISTERS.index(name) if name in REGISTERS else None

    def symbol(self, name: str) -> int:
        raise MachineError(f"there is no symbol {name!r}")


SCOPE: Final = Here()


class Place:
    """Registers of a hit, for both evaluators."""

    def __init__(self, machine: Machine, kprobes: Kprobes, words: Sequence[int], pstate: int) -> None:
        self._words = (ctypes.c_uint64 * 33)(*words)
        self.native = View(ctypes.addressof(self._words), pstate, False)
        self.view = HitView(machine, kprobes).at(Stage.RETURN, SavedRegs((*words, pstate)))
        self.environment = Environment(REGISTERS).look_at(self.view)

    def evaluated(self, expression: AgentExpression) -> int | str:
        try:
            return expression.evaluate(self.environment)
        except AgentError as error:
            return str(error)


@pytest.fixture(scope="module")
def machine() -> Machine:
    """A machine whose last page of RAM has words that are good addresses in it, and is followed by nothing."""
    demo = load("demo")
    random = Random(1)
    start, end = addresses(demo)
    data = [random_programs.word(random, (start, end)) for _ in range(4096 // 8)]
    demo.memory.write(start, b"".join(word.to_bytes(8, "little") for word in data))
    for name in ("sp_el0", "sp_el1", "tpidr_el1", "v0", "v31"):
        demo.registers[name] = random.getrandbits(64)
    return demo


@pytest.fixture(scope="module")
def kprobes(machine: Machine) -> Kprobes:
    return Kprobes(machine)


def addresses(machine: Machine) -> tuple[int, int]:
    """From a page before the end of RAM to a little after it."""
    end = RAM_BASE + machine.ram.size
    return end - 4096, end + 64


def places(machine: Machine, kprobes: Kprobes, random: Random) -> list[Place]:
    span = addresses(machine)
    return [
        Place(
            machine,
            kprobes,
            [random_programs.word(random, span) for _ in range(33)],
            random.getrandbits(4) << 28 | EL1H,
        )
        for _ in range(PLACES)
    ]


def compare(machine: Machine, expressions: Sequence[AgentExpression], where: Sequence[Place]) -> dict[Outcome, int]:
    """Evaluate each expression at each place, both ways. The result is how often there was each outcome."""
    programs = [compile_expression(expression, REGISTERS) for expression in expressions]
    natively = values(
        Reader(machine.core.native.address),
        [program for program in programs for _ in where],
        [place.native for _ in programs for place in where],
    )
    counts = dict.fromkeys(Outcome, 0)
    bus_only = 0  # reads that the CPU's own way does not have: of what the board has no device for
    for index, (outcome, value) in enumerate(natively):
        expression, place = expressions[index // len(where)], where[index % len(where)]
        expected: object = place.evaluated(expression)
        counts[outcome] += 1
        if outcome is Outcome.VALUE:
            assert value == expected, expression.code.hex()
        elif outcome in WHY:
            assert expected == WHY[outcome], expression.code.hex()
        else:
            assert outcome is Outcome.UNREADABLE
            bus_only += not re.search(UNREADABLE, str(expected))
    assert bus_only * 1000 < len(natively)
    return counts


@pytest.mark.sample(of="tests")
def test_random_bytecode(machine: Machine, kprobes: Kprobes) -> None:
    random = Random(12)
    codes = [random_programs.bytecode(random, addresses(machine)) for _ in range(EXPRESSIONS)]
    counts = compare(machine, [AgentExpression(code) for code in codes], places(machine, kprobes, random))
    assert sum(counts.values()) == EXPRESSIONS * PLACES
    assert counts[Outcome.VALUE] > EXPRESSIONS * PLACES / 2
    assert all(counts[outcome] > 50 for outcome in WHY.keys() - {Outcome.ENDLESS, Outcome.DEEP})
    assert counts[Outcome.UNREADABLE] > 50
    assert counts[Outcome.ENDLESS] > 0


def test_random_texts(machine: Machine, kprobes: Kprobes) -> None:
    """Also against what a real compiler makes of such texts, by test_language.py, which holds the evaluator to it."""
    random = Random(13)
    conditions: list[Condition] = []
    while len(conditions) < EXPRESSIONS / 10:
        text = random_programs.text(random, addresses(machine))
        with contextlib.suppress(ExpressionError):  # such as a product of pointers
            conditions.append(Condition.compile(text, SCOPE))
    counts = compare(machine, [each.expression for each in conditions], places(machine, kprobes, random))
    assert counts[Outcome.VALUE] > len(conditions) * PLACES / 2
    assert counts[Outcome.DIVIDES_BY_ZERO] > 50
    assert counts[Outcome.UNREADABLE] > 50


@pytest.mark.parametrize(
    "text",
    [
        "x0" + "+x0" * 332,
        "!" * 29 + "x0",
        "x0|(" * 29 + "x0" + ")" * 29,
        "1||0&&0|1^0&1==1<(0<<2-1%(" * 14 + "x0" + "))" * 14,
    ],
)
def test_our_language_needs_no_more_of_the_stack_than_there_is(machine: Machine, kprobes: Kprobes, text: str) -> None:
    condition = Condition.compile(text, SCOPE)
    place = places(machine, kprobes, Random(14))[0]
    ((outcome, value),) = values(Reader(machine.core.native.address), [compile_value(condition)], [place.native])
    assert (outcome, value != 0) == (Outcome.VALUE, condition.holds(place.view))


# The texts are the manual's names, with the effects and the state that only Python has.
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("2c0001 27", "uses trace state variables"),
        ("2201 2d0001 27", "uses trace state variables"),
        ("2c0001 2e0001 27", "uses trace state variables"),
        ("2e0001 27", "collects data for a tracepoint"),
        ("2201 2201 0c 27", "collects data for a tracepoint"),
        ("2201 2201 2f 27", "collects data for a tracepoint"),
        ("2200 2200 34 00 0002 4100 27", "prints"),
    ],
)
def test_what_needs_python(code: str, why: str) -> None:
    with pytest.raises(NeedsPython, match=why):
        compile_expression(AgentExpression(bytes.fromhex(code)), REGISTERS)


class Variables(Environment):
    """Trace state variables in a dictionary."""

    def __init__(self, numbers: Iterable[int]) -> None:
        super().__init__(REGISTERS)
        self.variables = dict.fromkeys(numbers, 0)

    def variable(self, number: int) -> int:
        return self.variables[number]

    def set_variable(self, number: int, value: int) -> None:
        self.variables[number] = value


def test_variables(machine: Machine, kprobes: Kprobes) -> None:
    """A program leaves variables as the evaluator does or, if it has no value, as they were."""
    random = Random(17)
    place = places(machine, kprobes, random)[0]
    reader = Reader(machine.core.native.address)
    shared = {number: Variable() for number in range(4)}
    python = Variables(shared)
    python.look_at(place.view)
    changed = undone = 0
    for _ in range(2000):
        expression = AgentExpression(random_programs.bytecode(random, addresses(machine), variables=True))
        program = compile_expression(expression, REGISTERS, shared.__getitem__)
        before = dict(python.variables)
        ((outcome, value),) = values(reader, [program], [place.native])
        expected: int | None = None
        with contextlib.suppress(AgentError):
            expected = expression.evaluate(python)
        if outcome is Outcome.VALUE:
            assert value == expected, expression.code.hex()
            changed += python.variables != before
        else:
            undone += python.variables != before
            python.variables = before
        assert {number: each.value for number, each in shared.items()} == python.variables, expression.code.hex()
    assert changed > 200
    assert undone > 20
    assert all(variable.known for variable in shared.values())


def test_changes_to_more_variables_than_can_be_undone(machine: Machine, kprobes: Kprobes) -> None:
    place = places(machine, kprobes, Random(18))[0]
    variable = Variable(5, True)
    program = compile_expression(
        AgentExpression(b"\x22\x07" + b"\x2d\0\0" * 40 + b"\x27"), REGISTERS, lambda _: variable
    )
    assert values(Reader(machine.core.native.address), [program], [place.native]) == [(Outcome.NO_ROOM, 0)]
    assert variable.value == 5


def test_every_register_that_gdb_knows_can_be_compiled(machine: Machine, kprobes: Kprobes) -> None:
    names = register_table(tuple(SYSTEM_REGISTERS)).sources
    place = places(machine, kprobes, Random(15))[0]
    codes = [AgentExpression(b"\x26" + number.to_bytes(2, "big") + b"\x27") for number in range(len(names))]
    natively = values(
        Reader(machine.core.native.address),
        [compile_expression(code, names) for code in codes],
        [place.native] * len(names),
    )
    environment = Environment(names).look_at(place.view)
    assert natively == [(Outcome.VALUE, code.evaluate(environment)) for code in codes]


NOTES: Final = [
    ('"%d %#x|%5u|%c|%p"', "x0, x1, w2, x3, sp"),
    ('"<%s>"', "{text}"),
    ('"%s|%.3s|%-9s|%s"', "{text}, {text} + 4, {latin}, {text} + 1"),
    ('"%s %s"', "0, {empty}"),
    ('"%s"', "{long}"),
    ('"%.20s%d"', "{last} - 3, *(u8 *){text}"),
    ('"%d"', "1 / (x0 - x0)"),
    ('"%s"', "{last}"),
    ('"%s%d"', "{text}, *(u8 *)({last} + 1)"),
    ('"nothing"', ""),
]


@pytest.mark.parametrize(("form", "arguments"), NOTES)
def test_notes(machine: Machine, kprobes: Kprobes, form: str, arguments: str) -> None:
    start, _ = addresses(machine)
    last = RAM_BASE + machine.ram.size - 1
    strings = {
        "text": b"what is written\0", "latin": b"\xe9\t\0", "empty": b"\0", "long": b"x" * 1500, "last": b"end"
    }  # fmt: skip
    at = start + 50
    places_of = {}
    for name, data in strings.items():
        places_of[name] = last if name == "last" else at
        machine.memory.write(last - 2 if name == "last" else at, data)
        at += len(data)
    place = places(machine, kprobes, Random(16))[0]
    note = Note.compile(", ".join(filter(None, (form, arguments.format(**places_of)))), SCOPE)
    compiled = compile_note(note)
    outcome, data = note_data(Reader(machine.core.native.address), compiled, place.native)
    line = note.line(place.view)
    if outcome is Outcome.VALUE:
        assert note.line_of(*compiled.decoded(data)) == line
    else:
        assert outcome is (Outcome.DIVIDES_BY_ZERO if "/" in arguments else Outcome.UNREADABLE)
        assert data == b""
        assert re.fullmatch(r"\(.*(divides|neither memory).*\)", line)


def test_a_note_of_many_strings_needs_python() -> None:
    with pytest.raises(NeedsPython, match="may have 10100 bytes, and 8192 are kept"):
        compile_note(Note.compile('"' + "%s" * 10 + '"' + ", x0" * 10, SCOPE))


def test_memory_with_breakpoints_and_taken_return_addresses_has_no_value() -> None:
    """A read has the evaluator's value, which is as without probes, or none; none wherever the two differ."""
    demo = load("demo")
    kprobes = Kprobes(demo)
    demo.run(until="slab_round")
    for name in ("kfree", "kmalloc"):
        kprobes.register_kretprobe(Kretprobe(name, record=False))
    demo.run(until=demo.symbols["kfree"].address + 12)
    (call,) = kprobes.outstanding
    registers, kfree, kmalloc = demo.registers, demo.symbols["kfree"].address, demo.symbols["kmalloc"].address
    reader = Reader(demo.core.native.address)
    reader.trampolines[1] = int.from_bytes(demo.memory.read(registers.sp + 8, 8), "little")
    for address in (kfree, kmalloc):
        reader.hide(address)
    general = (ctypes.c_uint64 * 33)(*demo.core.load().x)
    native = View(ctypes.addressof(general), registers.pstate, True)
    view = GuestView(demo, kprobes)
    environment = Environment(REGISTERS).look_at(view)
    low, high = min(kfree, kmalloc), max(kfree, kmalloc)
    reads = [
        (address, size)
        for first, last in ((registers.sp - 16, registers.sp + 64), (low - 16, low + 16), (high - 16, high + 16))
        for address in range(first, last)
        for size in (1, 2, 4, 8)
    ]
    operation = {1: 0x17, 2: 0x18, 4: 0x19, 8: 0x1A}
    codes = [
        AgentExpression(b"\x25" + address.to_bytes(8, "big") + bytes((operation[size], 0x27)))
        for address, size in reads
    ]
    found = values(reader, [compile_expression(code, REGISTERS) for code in codes], [native] * len(codes))
    hidden = 0
    for (address, size), code, (outcome, value) in zip(reads, codes, found, strict=True):
        shown = code.evaluate(environment)
        raw = int.from_bytes(demo.memory.read(address, size), "little")
        hidden += shown != raw
        if outcome is Outcome.VALUE:
            assert value == shown == raw
        else:
            assert outcome is Outcome.PATCHED
            # Not more than that: a byte that only happens to be in the trampoline's address too has its value.
            assert shown != raw or _overlaps(address, size, registers.sp + 8, 8) or low - size < address < high + 4
    assert hidden > 20
    x30 = compile_expression(AgentExpression(b"\x26\x00\x1e\x27"), REGISTERS)
    saved = View(native.x, native.pstate, False)
    assert values(reader, [x30, x30], [native, saved]) == [(Outcome.PATCHED, 0), (Outcome.VALUE, general[30])]
    assert environment.register(30) == call.ret_addr != general[30]
    assert [outcome for outcome, _ in found].count(Outcome.VALUE) > len(found) / 3


def _overlaps(address: int, size: int, other: int, length: int) -> bool:
    return address < other + length and other < address + size
