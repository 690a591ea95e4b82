# SPDX-License-Identifier: GPL-2.0-or-later
"""Agent expressions: operations by the manual's descriptions, arithmetic against C's."""

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from armprobe.expressions import AgentError, AgentExpression, Environment
from armprobe.expressions.evaluate import MOST_STEPS

MEMORY = bytes(range(1, 200)) + b"\0"
M64 = (1 << 64) - 1
WORDS = st.one_of(st.integers(0, M64), st.sampled_from([0, 1, 2, 63, 64, 65, 1 << 63, (1 << 63) - 1, M64, M64 - 1]))


class Here(Environment):
    """Registers are 0x100 + their number, memory is `MEMORY` at 0x1000."""

    def __init__(self) -> None:
        super().__init__(())
        self.variables: dict[int, int] = {3: 33}
        self.collected: list[tuple[int, int]] = []
        self.collected_variables: list[int] = []
        self.shown = ""

    def register(self, number: int) -> int:
        if number > 100:
            raise AgentError("there is no such register")
        return 0x100 + number

    def read(self, address: int, length: int) -> bytes:
        if not 0x1000 <= address <= 0x1000 + len(MEMORY) - length:
            raise AgentError("there is no such memory")
        return MEMORY[address - 0x1000 : address - 0x1000 + length]

    def variable(self, number: int) -> int:
        return self.variables.get(number, 0)

    def set_variable(self, number: int, value: int) -> None:
        self.variables[number] = value

    def collect(self, address: int, length: int) -> None:
        self.collected.append((address, length))

    def collect_variable(self, number: int) -> None:
        self.collected_variables.append(number)

    def show(self, text: str) -> None:
        self.shown += text


def evaluate(code: str, here: Here | None = None) -> int:
    return AgentExpression(bytes.fromhex(code)).evaluate(here or Here())


def const64(value: int) -> str:
    return f"25{value & M64:016x}"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("27", 0),
        ("2205 27", 5),
        ("2212 34 27".replace(" 34", "").replace("2212", "231234"), 0x1234),
        ("2412345678 27", 0x12345678),
        ("25123456789abcdef0 27", 0x123456789ABCDEF0),
        ("260005 27", 0x105),
        ("2201 2202 02 27", 3),
        ("2201 2202 03 27", M64),
        ("22ff 1608 27", M64),  # ext
        ("227f 1608 27", 0x7F),
        ("23ffff 2a08 27", 0xFF),  # zero_ext
        ("2301ff 1608 27", M64),
        ("2205 28 02 27", 10),  # dup
        ("2201 2202 29 27", 1),  # pop
        ("2201 2202 2b 03 27", 1),  # swap
        ("2201 2202 2203 3202 27", 1),  # pick: 0 is the top
        ("2201 2202 2203 3200 27", 3),
        ("2201 2202 2203 33 27", 2),  # rot: a b c become c a b
        ("2201 2202 2203 33 29 27", 1),
        ("2201 2202 2203 33 29 29 27", 3),
        ("231000 17 27", 0x01),
        ("231000 18 27", 0x0201),
        ("231000 19 27", 0x04030201),
        ("231000 1a 27", 0x0807060504030201),
        ("2200 0e 27", 1),  # log_not
        ("2207 0e 27", 0),
        ("2200 12 27", M64),
        ("2200 200008 2201 27 2202 27", 1),
        ("2201 200008 2201 27 2202 27", 2),
        ("210006 2201 27 2202 27", 2),
        # 10 + 9 + ... + 1, in a loop: variable 6 is the sum, 5 what is to be added
        ("220a 2d0005 29 2c0006 2c0005 02 2d0006 29 2c0005 2201 03 2d0005 200006 2c0006 27", 55),
        ("2c0003 27", 33),
        ("2c0009 27", 0),
    ],
)
def test_descriptions(code: str, value: int) -> None:
    assert evaluate(code) == value


@pytest.mark.parametrize(
    ("opcode", "compute"),
    [
        (0x02, lambda a, b: ctypes.c_uint64(a + b).value),
        (0x03, lambda a, b: ctypes.c_uint64(a - b).value),
        (0x04, lambda a, b: ctypes.c_uint64(a * b).value),
        (0x09, lambda a, b: ctypes.c_uint64(a << b).value if b < 64 else 0),
        (0x0A, lambda a, b: ctypes.c_uint64(ctypes.c_int64(a).value >> min(b, 63)).value),
        (0x0B, lambda a, b: a >> b if b < 64 else 0),
        (0x0F, lambda a, b: a & b),
        (0x10, lambda a, b: a | b),
        (0x11, lambda a, b: a ^ b),
        (0x13, lambda a, b: int(a == b)),
        (0x14, lambda a, b: int(ctypes.c_int64(a).value < ctypes.c_int64(b).value)),
        (0x15, lambda a, b: int(a < b)),
    ],
)
@given(a=WORDS, b=WORDS)
def test_arithmetic(opcode: int, compute: Callable[[int, int], int], a: int, b: int) -> None:
    assert evaluate(f"{const64(a)} {const64(b)} {opcode:02x} 27") == compute(a, b)


@given(WORDS, WORDS)
@example(1 << 63, M64)
@example(5, 0)
def test_division(a: int, b: int) -> None:
    """C's, by the identity that defines it: a is quotient times b plus remainder, which has a's sign."""
    unsigned = [f"{const64(a)} {const64(b)} {opcode} 27" for opcode in ("06", "08")]
    signed = [f"{const64(a)} {const64(b)} {opcode} 27" for opcode in ("05", "07")]
    if not b:
        for code in unsigned + signed:
            with pytest.raises(AgentError, match="divides by zero"):
                evaluate(code)
        return
    assert (evaluate(unsigned[0]), evaluate(unsigned[1])) == (a // b, a % b)
    left, right = ctypes.c_int64(a).value, ctypes.c_int64(b).value
    remainder = ctypes.c_int64(evaluate(signed[1])).value
    assert abs(remainder) < abs(right)
    assert remainder * left >= 0
    assert (evaluate(signed[0]) * right + remainder) & M64 == a


def test_variables() -> None:
    here = Here()
    assert evaluate("2c0003 2201 02 2d0004 2e0003 27", here) == 34
    assert here.variables == {3: 33, 4: 34}
    assert here.collected_variables == [3]


def test_collecting() -> None:
    here = Here()
    assert evaluate("231000 2208 0c 231010 0d04 3000ff 2310b0 231000 2f 27", here) == 0x1010
    assert here.collected == [(0x1000, 8), (0x1010, 4), (0x1010, 0xFF), (0x10B0, len(MEMORY) - 0xB0)]


class AtTheEdge(Here):
    """Memory ends at 0x1010, before any string does."""

    def read(self, address: int, length: int) -> bytes:
        if address + length > 0x1010:
            raise AgentError("there is no such memory")
        return super().read(address, length)


def test_collecting_a_string_that_cannot_be_read() -> None:
    """It is no error, as for other memory (gdbserver/ax.cc does not look at what its reading of a string gives)."""
    here = AtTheEdge()
    evaluate("2200 22ff 2f 23100a 22ff 2f 27", here)
    assert here.collected == [(0, 0), (0x100A, 6)]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("00 27", "operation 0x00"),
        ("31 27", "no operation has this number"),
        ("01 27", "floating-point"),
        ("1b 27", "floating-point"),
        ("22", "ends within its operation const8"),
        ("25 00", "ends within its operation const64"),
        ("1600 27", "ext of 0 bits"),
        ("2a41 27", "zero_ext of 65 bits"),
        ("210001 27", "jumps to 1"),
        ("21ffff 27", "jumps to 65535"),
        ("34 00", "ends within its operation printf"),
        ("34 00 0004 41", "ends within the format"),
        ("34 00 0002 4141", "NUL"),
        ("34 01 0002 4100", "printf of 1 values has a format for 0"),
        ("22" * 0x10002, "at most 65536 are allowed"),
    ],
)
def test_what_is_no_expression(code: str, why: str) -> None:
    with pytest.raises(AgentError, match=why):
        AgentExpression(bytes.fromhex(code))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "runs past"),
        ("2201", "runs past"),
        ("02 27", "than there is"),
        ("2201 02 27", "than there is"),
        ("29 27", "than there is"),
        ("28 27", "than there is"),
        ("2201 2b 27", "than there is"),
        ("3200 27", "than there is"),
        ("2201 2202 33 27", "than there is"),
        ("2201 2202 34 01 0003 256400 27", "than there is"),
        ("210000", f"within {MOST_STEPS} operations"),
        ("2201 210000", f"within {MOST_STEPS} operations"),
        ("26ffff 27", "no such register"),
        ("2200 19 27", "no such memory"),
    ],
)
def test_what_cannot_be_evaluated(code: str, why: str) -> None:
    with pytest.raises(AgentError, match=why):
        evaluate(code)


@given(st.lists(st.one_of(st.integers(0, 0x36), st.integers(0, 255)), max_size=60).map(bytes))
def test_whatever_the_bytes_are(code: bytes) -> None:
    try:
        value = AgentExpression(code).evaluate(Here())
    except AgentError:
        return
    assert 0 <= value <= M64


def test_strings_and_escapes() -> None:
    here = Here()
    text = rb"\t%s|%-4.2s|\x41".replace(rb"\x41", rb"\101\"\\\n") + b"\0"
    evaluate(f"231061 231060 2200 2200 34 02 {len(text):04x} {text.hex()} 27", here)
    tail = MEMORY[0x60:-1].decode("utf-8", "replace")
    assert here.shown == f'\t{tail}|{MEMORY[0x61:0x63].decode()}  |A"\\\n'


def test_the_bytecode_of_gdb_for_a_printf() -> None:
    """What gdb 13 and 18 send for `dprintf leaf,"a %d b %d\\n",1,2`."""
    here = Here()
    evaluate("22022201220022003402000c6120256420622025645c6e0027", here)
    assert here.shown == "a 1 b 2\n"


def test_a_null_pointer_is_no_string() -> None:
    here = Here()
    text = b"<%s|%9s>\0"
    evaluate(f"2200 2200 2200 2200 34 02 {len(text):04x} {text.hex()} 27", here)
    assert here.shown == "<(null)|   (null)>"
