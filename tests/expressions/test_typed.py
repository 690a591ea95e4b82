# SPDX-License-Identifier: GPL-2.0-or-later
"""Types in expressions, against a program that computes the same in C, compiled for the guest."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.expressions import Condition, ExpressionError
from armprobe.expressions.native import compile_value
from armprobe.kernel import typed_memory
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.program import Outcome, Reader, values
from armprobe.machine.native.program import View as NativeView
from armprobe.probes import Kprobes, Stage
from armprobe.probes.guest_view import GuestView
from armprobe.probes.scope import GuestScope

SOURCE = (Path(__file__).parent / "typed.c").read_text()

# In C `p` is a `struct all *`; here it is ((struct all *)object).
EXPRESSIONS = """
p->s8; p->u8; p->s16; p->u16; p->s32; p->u32; p->s64; p->u64; p->yes; p->color; p->text[3]; p->text[0] == 's'
-p->u8; ~p->u16; p->s8 * p->s16; p->u32 + p->s32; p->u32 < p->s32; p->s8 < p->u8; p->u64 >> 3; p->s64 >> 3; !p->nowhere
p->flags.low; p->flags.middle; p->flags.high; p->flags.wide; p->flags.rest; p->flags.byte; p->flags.on
p->flags.low - 8; p->flags.high + p->flags.middle; -p->flags.low < 0; p->flags.middle * p->flags.low; ~p->flags.byte
p->packed.first; p->packed.across; p->packed.odd; p->packed.far; p->packed.across << 1
p->inner.x; p->inner.y; p->inner.deep; p->inner.number; p->inner.bytes[2]; p->inner.bytes[1] + p->inner.deep
p->many[1].y; p->many[2].number; (p->many + 1)->x; (*(p->many + 2)).y; &p->many[2] - &p->many[0]; p->many[p->yes].x
p->grid[1][2]; *(p->grid[1] + 1); **p->grid; sizeof p->grid; sizeof(p->grid[0]); sizeof(struct flags); sizeof(u32)
p->list->value; p->list->next->value; p->list->next->next->value; !p->list->next->next->next; p->self->self->u16
p->list && p->list->value > 5; p->nowhere || p->list->value == 10; p->nowhere && p->list[1000000].value
(u8)p->s32; (s8)p->u8; (bool)p->s16; (bool)p->nowhere; (enum color)p->color; (u16)-1; ((struct all *)(u64)p)->s64
container_of(&p->inner, struct all, inner)->s32; container_of(&p->list->next, struct node, next) == p->list
container_of(&p->inner.y, struct all, inner.y) == p; (char *)&p->u32 - (char *)p; &p->u32 == (u32 *)((u64)p + 12)
sizeof(struct all); sizeof p->text; sizeof(struct all *); sizeof *p; p == p->self; p + 1 > p->self
(u64)(p + 1) - (u64)p
p->name[2]; *p->name; p->name[0] == 'a'; (u64)p->text == (u64)&p->text[0]; RED; GREEN; BLUE; p->color == BLUE
*(u32 *)&p->s32 == p->u32; ((u8 *)p)[7]; *((u16 *)p + 3); (*p).u32; (&p->inner)->y; p->inner.x ^ p->inner.y
p->s64 % 1000
"""
TEXTS = [text.strip() for text in re.split(r"[;\n]", EXPRESSIONS) if text.strip()]


@pytest.fixture(scope="module")
def guest(tool: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The program at its first instruction."""
    compiler, folder = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), tmp_path_factory.mktemp("typed")
    (folder / "typed.c").write_text(SOURCE)
    lines = [f"values[{number}] = (long)({text});\n" for number, text in enumerate(TEXTS)]
    (folder / "expressions.inc").write_text("".join(lines))
    places = ["-Wl,-Ttext=0x40080000", "-Wl,-Tdata=0x400a0000", "-Wl,--build-id=none", "-Wl,-e,_start"]
    options = [
        "-g",
        "-O1",
        "-w",
        "-fwrapv",
        "-fno-strict-aliasing",
        "-fno-pie",
        "-no-pie",
        "-nostdlib",
        "-ffreestanding",
    ]
    files = ["-o", str(folder / "a.elf"), str(folder / "typed.c"), "-lgcc"]
    command = [compiler, *options, *places, "-mstrict-align", *files]
    subprocess.run(command, check=True)
    return machine.load(folder / "a.elf", memory="16M")


@pytest.fixture(scope="module")
def kprobes(guest: Machine) -> Kprobes:
    return Kprobes(guest)


def evaluated(guest: Machine, kprobes: Kprobes, text: str, stage: Stage = Stage.PRE) -> int:
    """The value by the evaluator, which the C core has to give, too; as a signed number."""
    pc = guest.registers.pc
    condition = Condition.compile(text, GuestScope(guest, stage, pc))
    value = condition.value(GuestView(guest, kprobes))
    general = guest.core.load().x
    words = (ctypes.c_uint64 * 33)(*general)
    address = ctypes.addressof(words)
    reader = Reader(guest.core.native.address)
    ((outcome, natively),) = values(reader, [compile_value(condition)], [NativeView(address, 0, False)])
    assert (outcome, natively) == (Outcome.VALUE, value), text
    return value - (value >> 63 << 64)


def seen(guest: Machine, count: int) -> list[int]:
    """What the function that is entered stores, in C, when it has returned."""
    guest.run(until=guest.registers.x[30])
    return [int(typed_memory(guest).read(guest.symbols["seen"].address, "long[16]")[index]) for index in range(count)]


@pytest.mark.parametrize(
    ("function", "texts"),
    [
        ("narrow", "a b c d e f g h"),
        ("wide", "a b c d e->next->value"),
        ("stacked", "h i j k.b k.e l k.d"),
        ("structs", "a.a a.b a.c b.a b.b b.c b.d b.e c.a[2] d"),
        ("mixed", "a d h"),
        ("split", "g h.a h.e i"),
    ],
)
def test_arguments(guest: Machine, kprobes: Kprobes, function: str, texts: str) -> None:
    guest.restore(start := guest.snapshot())
    guest.run(until=function)
    found = [evaluated(guest, kprobes, text) for text in texts.split()]
    assert found == seen(guest, len(found))
    guest.restore(start)


def test_results(guest: Machine, kprobes: Kprobes) -> None:
    start = guest.snapshot()
    found: list[int] = []
    for function in ("gives_s8", "gives_u16", "gives_bool"):
        found += results(guest, kprobes, function, "retval")
    found += results(guest, kprobes, "gives_two", "retval.b retval.d retval.e")
    guest.run(instructions=20_000)  # it waits for an interrupt by then
    assert found == [int(each) for each in typed_memory(guest).read(guest.symbols["seen"].address, "long[6]")]
    guest.restore(start)


def results(guest: Machine, kprobes: Kprobes, function: str, texts: str) -> list[int]:
    guest.run(until=function)
    place = guest.registers.pc
    guest.run(until=guest.registers.x[30])
    scope, view = GuestScope(guest, Stage.RETURN, place), GuestView(guest, kprobes)
    found = [Condition.compile(text, scope).value(view) for text in texts.split()]
    return [value - (value >> 63 << 64) for value in found]


def test_expressions(guest: Machine, kprobes: Kprobes) -> None:
    start = guest.snapshot()
    guest.run(instructions=20_000)  # it waits for an interrupt by then
    array = typed_memory(guest).read(guest.symbols["values"].address, "long[200]")
    expected = [int(array[index]) for index in range(len(TEXTS))]
    found = [evaluated(guest, kprobes, re.sub(r"\bp\b", "((struct all *)object)", text)) for text in TEXTS]
    wrong = [(text, *pair) for text, *pair in zip(TEXTS, found, expected, strict=True) if pair[0] != pair[1]]
    assert not wrong
    assert len(set(expected)) > 60
    guest.restore(start)


def test_global_variables(guest: Machine, kprobes: Kprobes) -> None:
    """By the names that C has for them, with their types from DWARF; a struct or array is its address as a number."""
    start = guest.snapshot()
    guest.run(instructions=20_000)
    place = guest.symbols["object"].address
    for text, expected in (
        ("object.many[1].y == ((struct all *)object)->many[1].y && object.many == &object.many[0]", 1),
        ("&(&object.self->many[1])[-1].y == &object.many[0].y", 1),
        ("object.text[0]", ord("s")),
        ('object.text == "some text"', 1),
        ("(u64)&object", place),
        ("object == (u64)&object.s8", 1),
        ("sizeof(object) == sizeof(struct all)", 1),
        ("first.next->value * 100 + first.value", 2010),
        ("first.next.value * 100 + first.value", 2010),
        ("&seen[3] - seen", 3),
        ("(u64)narrow", guest.symbols["narrow"].address),
    ):
        assert evaluated(guest, kprobes, text) == expected, text
    memory = typed_memory(guest)
    assert memory.variable("second").value == 20
    with pytest.raises(MachineError, match="no variable narrow is known in this guest"):
        memory.variable("narrow")
    guest.restore(start)


@pytest.mark.parametrize(
    ("place", "text", "words", "at"),
    [
        ("mixed", "b > 1", "the value of b is not known: it is a double, which is passed in vector registers", "b"),
        (
            "mixed",
            "c.x",
            "the value of c is not known: it is a struct floats, which is passed in vector registers",
            "c",
        ),
        ("mixed", "g.n == 1", "n is not in one register", "n"),
        ("mixed", "a && e", "a struct none has no bytes", "e"),
        ("mixed+4", "1 + a", "a is an argument of mixed, which is known only at its entry: this is mixed+0x4", "a"),
        ("mixed", "k", "there is no symbol 'k', nor has mixed an argument of that name", "k"),
        ("structs", "b", "a struct two is not a number: name a member of it", "b"),
        ("structs", "b.z", "no member z in a struct two", "z"),
        ("structs", "b.aa", "no member aa in a struct two: did you mean a?", "aa"),
        ("mixed", "current->pid", "there is no symbol 'current': did you mean $task?", "current"),
        ("mixed", "$pc + $com", "there is no register 'com' of 64 bits or less: did you mean $comm?", "$com"),
        ("mixed", "$zzz", "$x0 to $x30, $sp, $pc, $pstate and system registers, such as $esr_el1, are", "$zzz"),
        ("mixed", "a, 1", "this is one expression, and a comma begins another", ","),
        ("mixed", "str(a)", "str(POINTER) is a key by itself", "("),
        ("mixed", "f(a)", "there is no function f() in expressions", "("),
        ("structs", "&b.a", "it is not in memory by itself, so it has no address", "&"),
        ("wide", "e->nothing", "no member nothing in a struct node", "nothing"),
        ("wide", "e.value.x", "a int has no members", "x"),
        ("wide", "a->value", "a s64 has no members", "value"),
        ("wide", "*d", "the type of the memory is not known", "*"),
        ("wide", "*e", "a struct node is not a number", "*"),
        ("wide", "(struct node)a", "nothing can be converted to a struct node", "struct"),
        ("wide", "(struct missing *)a", "'struct missing' is not a known type", "struct"),
        ("wide", "(missing *)a", "'missing' is not a known type", "missing"),
        ("wide", "container_of(e, int, x)", "container_of needs a struct", "int"),
        ("wide", "container_of(e, struct node, x)", "no member x", "container_of"),
        ("wide", 'e == "x"', "a text can only be compared with characters", "=="),
        ("wide", "retval", "retval is known only where a function returns", "retval"),
        ("wide", "$elapsed > 3", "the time is known only where a function returns", "$elapsed"),
        ("wide", "$comm == 3", "the task is known only in the kernel", "$comm"),
    ],
)
def test_refused_with_a_reason_at_its_column(guest: Machine, place: str, text: str, words: str, at: str) -> None:
    name, _, offset = place.partition("+")
    scope = GuestScope(guest, Stage.PRE, guest.symbols[name].address + int(offset or 0))
    with pytest.raises(ExpressionError, match=re.escape(words)) as refused:
        Condition.compile(text, scope)
    assert "\n" not in str(refused.value)
    assert text[refused.value.column :].startswith(at)


def test_text_of_characters(guest: Machine, kprobes: Kprobes) -> None:
    start = guest.snapshot()
    guest.run(instructions=20_000)
    p = "((struct all *)object)"
    for text, expected in (
        (f'{p}->text == "some text"', 1),
        (f'{p}->text == "some tex"', 0),
        (f'{p}->text == "some text "', 0),
        (f'{p}->name == "a name"', 1),
        (f'{p}->name != "a names"', 1),
        (f'{p}->name == ""', 0),
    ):
        assert evaluated(guest, kprobes, text) == expected, text
    guest.restore(start)
