# SPDX-License-Identifier: GPL-2.0-or-later
"""The language of conditions against C itself: what gcc makes of the same expression for the same registers."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from armprobe import machine
from armprobe.expressions import AgentError, AgentExpression, Condition, Environment, ExpressionError, Scope
from armprobe.expressions.bytecode import decode
from armprobe.kernel import types as declared
from armprobe.kernel.variables import Variable
from armprobe.machine import MachineError

M64 = (1 << 64) - 1
MEMORY = bytes((i * 37 + 0x91) & 0xFF for i in range(64))
REGISTERS = 4  # x0 to x3 hold anything, x4 the address of MEMORY
TYPES = ["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"]
CASTS = [*TYPES, "char", "int", "unsigned int", "unsigned", "long", "unsigned long", "short", "signed char", "size_t"]
PROLOGUE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long s64; typedef unsigned long size_t;
"""


class Here:
    """Registers as given, x4 pointing to MEMORY, and 0 in the others."""

    def __init__(self, registers: list[int], base: int) -> None:
        self.general = [*registers, base, *[0] * 28]
        self.base = base

    def register(self, name: str) -> int:
        raise MachineError(f"there is no register {name}")

    def read(self, address: int, length: int) -> bytes:
        at = address - self.base
        if not 0 <= at <= len(MEMORY) - length:
            raise MachineError("there is no such memory")
        return MEMORY[at : at + length]


class Names(Scope):
    """No registers but x and w, and two symbols. No function has returned."""

    registers = tuple(f"x{n}" for n in range(31))
    returned = False

    def register(self, name: str) -> int | None:
        return None

    def symbol(self, name: str) -> int:
        known = {"jiffies": 0xFFFF800000ABC000, "ext4:ext4_sync_fs": 0xFFFF800001000010}
        if name not in known:
            raise MachineError(f"there is no symbol {name!r}")
        return known[name]


NAMES = Names()


class Task(declared.Layout):
    """The struct task_struct of the tests."""

    key = 0

    def fields(self) -> Iterator[declared.Field]:
        char, number = declared.Integer("char", 1, False), declared.Integer("int", 4, True)
        yield declared.Field("comm", 8 * 5, None, None, lambda: declared.Array(lambda: char, 16))
        yield declared.Field("pid", 8 * 32, None, None, lambda: number)


class TaskNames(Names):
    """The same on a guest whose tasks are known: SP_EL0, which is here x4, points to MEMORY."""

    def type(self, name: str) -> declared.Type | None:
        return declared.Struct("task_struct", 40, Task()) if name == "struct task_struct" else None

    def register(self, name: str) -> int | None:
        return {"sp_el0": 4}.get(name)


class PerCpuNames(Names):
    """The same on a kernel whose CPU's own variables are x3 bytes behind their common place. `count` is one of them."""

    cpu_offset = "tpidr_el1"

    def register(self, name: str) -> int | None:
        return {"tpidr_el1": 3}.get(name)

    def variable(self, name: str) -> Variable | None:
        number = declared.Integer("unsigned int", 4, False)
        known = {
            "counts": Variable(0x1008, declared.Array(lambda: number, 2), per_cpu=True),
            "shared": Variable(0x1010, number),
            "pointer": Variable(0x1018, declared.Pointer(lambda: number)),
        }
        return known.get(name)


def value(text: str, registers: list[int], base: int = 0x1000) -> int:
    environment = Environment(NAMES.registers).look_at(Here(registers, base))
    return AgentExpression(Condition.compile(text, NAMES).code).evaluate(environment)


def numbers() -> st.SearchStrategy[str]:
    # As decimals C gives none above LONG_MAX a type of 64 bits.
    interesting = st.sampled_from([0, 1, 127, 128, 255, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 63) - 1])
    decimal = st.tuples(st.one_of(st.integers(0, 300), interesting), st.sampled_from(["", "u", "UL", "l"]))
    hexadecimal = st.tuples(st.one_of(st.integers(0, M64), interesting), st.sampled_from(["", "u", "ul"]))
    octal = st.integers(0, 0o777).map(lambda number: f"0{number:o}")
    return st.one_of(
        decimal.map(lambda pair: f"{pair[0]}{pair[1]}"),
        hexadecimal.map(lambda pair: f"{pair[0]:#x}{pair[1]}"),
        octal,
        st.sampled_from(["'a'", "'\\n'", "'0'"]),
    )


def reads() -> st.SearchStrategy[str]:
    kinds, offsets = st.sampled_from(TYPES), st.integers(0, 7)
    return st.one_of(
        st.tuples(kinds, offsets).map(lambda pair: f"*({pair[0]} *)(x4 + {pair[1]})"),
        st.tuples(kinds, offsets).map(lambda pair: f"(({pair[0]} *)x4)[{pair[1]}]"),
        st.tuples(kinds, offsets).map(lambda pair: f"*(({pair[0]} *)x4 + {pair[1]})"),
        st.tuples(kinds, offsets).map(lambda pair: f"*({pair[1]} + ({pair[0]} *)x4)"),
        st.tuples(kinds, offsets).map(lambda pair: f"*(({pair[0]} *)(x4 + 8) - {pair[1] % 2})"),
        st.tuples(kinds, offsets).map(lambda pair: f"(({pair[0]} *)x4 + {pair[1]} - ({pair[0]} *)(u64)x4)"),
    )


def extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "&", "|", "^", "==", "!=", "<", "<=", ">", ">=", "&&", "||"])
    return st.one_of(
        # Without parentheses, so that precedence and associativity count.
        st.tuples(inner, operators, inner, operators, inner).map(" ".join),
        st.tuples(inner, operators, inner).map(lambda three: f"({' '.join(three)})"),
        st.tuples(st.sampled_from("-~!+"), inner).map(lambda two: f"{two[0]} ({two[1]})"),
        st.tuples(st.sampled_from("-~!+"), inner).map(" ".join),
        st.tuples(st.sampled_from(CASTS), inner).map(lambda two: f"({two[0]})({two[1]})"),
        st.tuples(st.sampled_from(CASTS), inner).map(lambda two: f"({two[0]}) {two[1]}"),
        # What C leaves undefined: division by zero, shifts by more than there are bits.
        st.tuples(inner, st.sampled_from("/%"), inner).map(lambda three: f"({three[0]} {three[1]} (({three[2]}) | 1))"),
        st.tuples(inner, st.sampled_from(["<<", ">>"]), inner).map(lambda x: f"({x[0]} {x[1]} (({x[2]}) & 31))"),
    )


LEAVES = st.one_of(
    numbers(), reads(), *(st.sampled_from([f"{kind}{n}" for n in range(REGISTERS)]) for kind in ("x", "w", "$x"))
)
EXPRESSIONS = st.recursive(LEAVES, extended, max_leaves=12)
WORDS = st.one_of(st.integers(0, M64), st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, M64]))


@pytest.fixture(scope="module")
def demo() -> machine.Machine:
    m = machine.load("demo")
    m.run(until="workload_run")
    return m


class Gcc:
    """Compiles expressions for the guest and has it compute them."""

    def __init__(self, compiler: str, folder: Path, demo: machine.Machine) -> None:
        self._compiler, self._folder, self._demo = compiler, folder, demo
        self._code = demo.scratch.allocate(64 << 10, 16)
        self.base = demo.scratch.allocate(len(MEMORY), 16)
        demo.scratch.write(self.base, MEMORY)
        self._arguments = demo.scratch.allocate(8 * (REGISTERS + 1), 16)

    def values(self, expressions: list[str], registers: list[int]) -> list[int]:
        source = PROLOGUE
        for i, text in enumerate(expressions):
            names = "".join(f"s64 x{n} = a[{n}]; s32 w{n} = x{n};" for n in range(REGISTERS + 1))
            source += f'__attribute__((aligned(16), section(".f{i:03}"))) s64 f{i}(s64 *a) {{ {names}'
            source += f"return (s64)({text.replace('$', '')}); }}\n"
        path = self._folder / "expressions.c"
        path.write_text(source)
        flags = ["-w", "-O0", "-fwrapv", "-fno-strict-aliasing", "-mgeneral-regs-only", "-nostdlib", "-static"]
        script = self._folder / "expressions.ld"
        script.write_text("SECTIONS { . = 0; .text : { *(SORT(.f*)) } .rest : { *(*) } }")
        elf, binary = path.with_suffix(".elf"), path.with_suffix(".bin")
        link = ["-Wl,-T," + str(script), "-Wl,--build-id=none", "-Wl,-e,0", "-Wl,--no-warn-rwx-segments"]
        subprocess.run([self._compiler, *flags, *link, str(path), "-o", str(elf)], check=True)
        prefix = self._compiler.removesuffix("gcc")
        subprocess.run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", str(elf), str(binary)], check=True)
        listing = subprocess.run([f"{prefix}nm", str(elf)], check=True, capture_output=True, text=True).stdout
        places = {row.split()[2]: int(row.split()[0], 16) for row in listing.splitlines()}
        code = binary.read_bytes()
        demo = self._demo
        demo.scratch.write(self._code, code)
        words = [*registers, self.base]
        demo.scratch.write(self._arguments, b"".join(word.to_bytes(8, "little") for word in words))
        return [demo.call(self._code + places[f"f{i}"], self._arguments) for i in range(len(expressions))]


@pytest.fixture(scope="module")
def gcc(tool: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory, demo: machine.Machine) -> Gcc:
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    return Gcc(compiler, tmp_path_factory.mktemp("expressions"), demo)


@settings(
    max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(EXPRESSIONS, min_size=40, max_size=60), st.lists(WORDS, min_size=REGISTERS, max_size=REGISTERS))
def test_what_gcc_makes_of_them(gcc: Gcc, expressions: list[str], registers: list[int]) -> None:
    expected = gcc.values(expressions, registers)
    computed = [value(text, registers, gcc.base) for text in expressions]
    wrong = [each for each in zip(expressions, computed, expected, strict=True) if each[1] != each[2]]
    assert not wrong, f"with {registers}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x0 < 0", 1),  # registers x have a sign, as in gdb
        ("w0 < 0", 0),
        ("x0 == -1", 0),
        ("x1 == -22", 1),
        ("x1 > 0xffff000000000000", 1),  # a constant of type unsigned long makes the comparison one
        ("(u64)x1 < 10", 0),
        ("jiffies == 0xffff800000abc000", 1),
        ("&jiffies + 1 == jiffies - -1", 1),
        ("ext4:ext4_sync_fs & 0xff", 0x10),
        ("x2 && *(u8 *)0", 0),  # nothing is read that C would not read
        ("x1 || *(u8 *)0", 1),
        ("*(char *)x4 == 0x91", 1),  # a plain char has no sign
        ("((char **)x4)[1] == (char *)*(u64 *)(x4 + 8)", 1),
        ("!!x1 + !x2", 2),
        ("1 - 2 - 3 == -4 && 2 + 3 * 4 == 14 && (1 | 2 == 2) == 1", 1),
    ],
)
def test_what_is_decided_here(text: str, expected: int) -> None:
    assert value(text, [0x8000_0000_7FFF_FFFF, -22 & M64, 0, 0]) == expected


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("x0 == -100", ["reg", "const64", "equal", "end"]),
        ("x0 & ~0xfff", ["reg", "const64", "bit_and", "end"]),
        ("x0 == jiffies + (2 << 4)", ["reg", "const64", "equal", "end"]),
        ("((u64 *)x4)[3]", ["reg", "const8", "add", "ref64", "end"]),
    ],
)
def test_what_is_constant_is_computed_once(text: str, operations: list[str]) -> None:
    assert [each.name for each in decode(Condition.compile(text, NAMES).code)] == operations


@pytest.mark.parametrize("text", ["1 / 0", "x0 && 1 % (2 - 2)"])
def test_division_by_zero_is_found_where_it_is_evaluated(text: str) -> None:
    condition = Condition.compile(text, NAMES)
    with pytest.raises(AgentError, match="divides by zero"):
        condition.holds(Here([1, 2, 3, 4], 0x1000))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x0 <", "is wrong at its end: a value was expected"),
        ("x0 < < 3", "is wrong at '< 3': a value was expected"),
        ("x0 = 3", "is wrong at '= 3': write == to compare"),
        ("x0 3", "is wrong at '3': an operator was expected"),
        ("(x0", "is wrong at its end: ')' was expected"),
        ("*x0", "is wrong at '*x0': the type of the memory is not known: write *(u64 *)x1, or another type"),
        ("*(void *)x0", "the type of the memory is not known"),
        ("x0[1]", "is wrong at '[1]': only a pointer"),
        ("1 + (u8 *)x0 * 2", "is wrong at '* 2': '*' is not for pointers"),
        ("- (u8 *)x0", "'-' is not for pointers"),
        ("(u8 *)x0 + (u8 *)x1", "these pointers cannot be added or subtracted"),
        ("(long char)x0", "'long char' is not a known type"),
        ("(void)x0", "nothing can be converted to void"),
        ("retval < 0", "retval is known only where a function returns"),
        ("x0 == 08", "a number that begins with 0 is octal"),
        ("x0 == 12ab", "this is not a number"),
        ("x0 == 0x12345678123456789", "the number has more than 64 bits"),
        ("x0 == '\\q'", "is neither an ASCII character nor a known escape"),
        ("x0 == 'é'", "is neither an ASCII character nor a known escape"),
        ("x0 @ 2", "an operator was expected"),
        ("$v0", "there is no register 'v0'"),
        ("(" * 31, "it is nested deeper than 30"),
        ("!" * 31, "it is nested deeper than 30"),
        ("x0 + " * 200 + "x0", "1002 characters: at most 1000 are allowed"),
    ],
)
def test_refusals(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as error:
        Condition.compile(text, NAMES)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(alphabet="x01w$ *()[]&|<>=!+-/%~^'u8s\\,.lr\u00e9", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        condition = Condition.compile(text, NAMES)
    except ExpressionError:
        return
    try:
        condition.holds(Here([1, 2, 3, 4], 0x1000))
    except AgentError:
        return


@pytest.mark.parametrize(
    ("name", "same"),
    [("dd", True), ("d", False), ("ddd", False), ("", False), ("kworker/0:1-eve", True), ("kworker/0:1-evf", False)],
)
@pytest.mark.parametrize("operator", ["==", "!="])
def test_the_name_of_a_task(name: str, same: bool, operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As strcmp() has it; what is behind the NUL may be anything (TASK_COMM_LEN is 16)."""
    comm = b"kworker/0:1-eve\0" if len(name) > 8 else b"dd\0left from before"[:16]
    memory = (b"12345" + comm).ljust(32) + (-7 & 0xFFFFFFFF).to_bytes(4, "little")
    monkeypatch.setattr(f"{__name__}.MEMORY", memory)
    for text, expected in ((f'$comm {operator} "{name}"', same == (operator == "==")), ("$pid == -7", True)):
        code = Condition.compile(f"1 && {text}", TaskNames()).code
        environment = Environment(NAMES.registers).look_at(Here([0] * REGISTERS, 0x1000))
        assert AgentExpression(code).evaluate(environment) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"dd" == $comm', 'a text can only be compared, as in \\$comm == "dd"'),
        ('$comm < "dd"', "a text can only be compared with characters, by == and !="),
        ('$pid == "dd"', "a text can only be compared with characters, by == and !="),
        ('$comm == "averylongname123"', "a char \\[16\\] has room for 15 characters"),
        ('$comm == "a" "b"', "an operator was expected"),
    ],
)
def test_texts_that_cannot_be_compared(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        Condition.compile(text, TaskNames())
    with pytest.raises(ExpressionError, match="the tasks of this guest are not known"):
        Condition.compile("$comm != 0", NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("per_cpu(counts, 0)[1]", 0x22),
        ("per_cpu(counts[1], 0)", 0x22),
        ("this_cpu_read(counts[0])", 0x11),
        ("per_cpu_ptr(&counts, x0 - x0) == &counts", 1),
        ("*per_cpu_ptr(&counts[1], 0) + *this_cpu_ptr(&counts[0])", 0x33),
        ("per_cpu(counts[1], x0 - 7)", 0x22),
        ("(u64)per_cpu_ptr(&counts[1], x0)", 0),
        ("*this_cpu_ptr((u32 *)0xff4)", 0x22),
        ("*per_cpu_ptr((u32 *)x1, 0)", 0x22),
        ("*this_cpu_ptr(pointer)", 0x22),
        ("*this_cpu_ptr(&pointer[1])", 0x33),
        ("sizeof(per_cpu(counts, 0))", 8),
        ("per_cpu == 0x30", 1),
    ],
)
def test_variables_of_each_cpu(text: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel's macros compute them: the address plus the CPU's offset (include/linux/percpu-defs.h)."""
    memory = struct.pack("<8xIIIIQ", 0x11, 0x22, 0x33, 0, 0xFF4)
    monkeypatch.setattr(f"{__name__}.MEMORY", memory)
    names = PerCpuNames()
    monkeypatch.setattr(names, "symbol", {"per_cpu": 0x30}.__getitem__)
    environment = Environment(NAMES.registers).look_at(Here([7, 0xFF4, 0, 0x18], 0x1000))
    assert AgentExpression(Condition.compile(text, names).code).evaluate(environment) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("per_cpu(counts, 1)[0]", "is wrong at '1)[0]': the machine has one CPU, whose number is 0"),
        ("per_cpu(shared, 0)", "is wrong at 'shared, 0)': this is no variable that each CPU has"),
        ("this_cpu_ptr(&shared)", "this is no variable that each CPU has"),
        ("per_cpu(x0, 0)", "this is no variable that each CPU has"),
        ("this_cpu_ptr(x0)", "this is no pointer: convert it first, as in this_cpu_ptr((u64 *)x0)"),
        ("per_cpu(nothing, 0)", "there is no symbol 'nothing'"),
        ("per_cpu(counts)", "',' was expected"),
        ("per_cpu(counts, 0", "')' was expected"),
        ("this_cpu_ptr(&counts, 0)", "')' was expected"),
    ],
)
def test_what_no_cpu_has(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as error:
        Condition.compile(text, PerCpuNames())
    assert said in str(error.value)
    with pytest.raises(ExpressionError, match="this guest has no variables that each CPU has"):
        Condition.compile("*this_cpu_ptr((u32 *)x0)", NAMES)
