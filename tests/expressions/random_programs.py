# SPDX-License-Identifier: GPL-2.0-or-later
"""Random agent expressions and random texts of our language, most of which have a value, for comparing evaluators."""

from __future__ import annotations

from random import Random
from typing import Final

from armprobe.expressions.bytecode import OPERATIONS

_NUMBERS: Final = {name: (number, width) for number, (name, width) in OPERATIONS.items()}
# Each operation: how many values it needs, how many it leaves in their place, and its weight.
_OPERATIONS: Final = {
    **dict.fromkeys(("add", "sub", "mul", "lsh", "rsh_signed", "rsh_unsigned", "bit_and", "bit_or"), (2, 1, 3)),
    **dict.fromkeys(("div_signed", "div_unsigned", "rem_signed", "rem_unsigned", "bit_xor", "equal"), (2, 1, 3)),
    **dict.fromkeys(("less_signed", "less_unsigned"), (2, 1, 3)),
    **dict.fromkeys(("log_not", "bit_not", "ext", "zero_ext"), (1, 1, 4)),
    **dict.fromkeys(("ref8", "ref16", "ref32", "ref64"), (1, 1, 3)),
    "dup": (1, 2, 3),
    "pop": (1, 0, 2),
    "swap": (2, 2, 2),
    "rot": (3, 3, 2),
    "pick": (1, 2, 3),
    "if_goto": (1, 0, 3),
    "goto": (0, 0, 1),
    "end": (0, 0, 1),
    "reg": (0, 1, 25),
    **dict.fromkeys(("const8", "const16", "const32", "const64"), (0, 1, 5)),
}
_NAMES: Final = list(_OPERATIONS)
_WEIGHTS: Final = [weight for _, _, weight in _OPERATIONS.values()]
_EDGES: Final[tuple[int, ...]] = (
    0,
    1,
    2,
    31,
    32,
    63,
    64,
    65,
    127,
    128,
    255,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    (1 << 64) - 2,
)
_REGISTERS: Final[tuple[int, ...]] = (*range(33), *range(33), 33, 34, 65, *range(66, 72), 300)
"""Mostly x0 to x30, sp and pc; then pstate, vectors, fpsr, fpcr, system registers, and one that does not exist."""


def word(random: Random, addresses: tuple[int, int]) -> int:
    """64 bits: an edge of a type, an address in or near the range `addresses`, or anything."""
    kind = random.random()
    if kind < 0.15:
        return random.choice(_EDGES)
    if kind < 0.85:
        return random.randrange(*addresses)
    return random.getrandbits(random.choice((8, 16, 24, 64)))


def bytecode(random: Random, addresses: tuple[int, int], variables: bool = False) -> bytes:
    """An agent expression. A few take more from the stack than there is, run past their end or do not end.

    With `variables`, some read and write the trace state variables 0 to 3.
    """
    names: list[str] = []
    depth = 0
    for name in random.choices(_NAMES, _WEIGHTS, k=random.randint(2, 24)):
        needs, leaves, _ = _OPERATIONS[name]
        if depth < needs and random.random() < 0.99:
            name, needs, leaves = "reg", 0, 1
        elif name.startswith("ref") and random.random() < 0.9:  # of what may be an address
            names.append("reg")
            needs = 0
        depth = max(depth - needs + leaves, 0)
        if variables and name == "reg" and random.random() < 0.5:
            name = "getv"
            names += ["setv"] if depth > 1 and random.random() < 0.5 else []
        names.append(name)
    if random.random() < 0.98:
        names.append("end")
    offsets = [0]
    for name in names:
        offsets.append(offsets[-1] + 1 + _NUMBERS[name][1])
    code = bytearray()
    for index, name in enumerate(names):
        number, width = _NUMBERS[name]
        code.append(number)
        if width:
            operand = _operand(random, name, addresses, offsets, index)
            code += (operand & (1 << 8 * width) - 1).to_bytes(width, "big")
    return bytes(code)


def _operand(random: Random, name: str, addresses: tuple[int, int], offsets: list[int], index: int) -> int:
    match name:
        case "ext" | "zero_ext":
            return random.choice((1, 7, 8, 16, 31, 32, 33, 63, 64))
        case "pick":
            return random.choice((0, 0, 0, 1, 2, 3, 255))
        case "reg":
            return random.choice(_REGISTERS)
        case "getv" | "setv":
            return random.randrange(4)
        case "goto" | "if_goto":
            back = random.random() < 0.002
            return random.choice(offsets[: index + 1] if back else offsets[index + 1 : -1] or offsets[:1])
    return word(random, addresses)


_UNARY: Final = ("-", "~", "!", "+", "(u8)", "(s8)", "(u16)", "(s16)", "(u32)", "(s32)", "(u64)", "(s64)", "(char)")
_POINTERS: Final = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "char")
_BINARY: Final = (*"+-*/%&|^<>", "<<", ">>", "==", "!=", "<=", ">=", "&&", "||")


def text(random: Random, addresses: tuple[int, int], depth: int = 4) -> str:
    """An expression in our language."""
    kind = random.random()
    if depth == 0 or kind < 0.15:
        if random.random() < 0.6:
            return random.choice(("x0", "x1", "w2", "x3", "x29", "x30", "sp", "pc", "pstate"))
        value = word(random, addresses)
        return random.choice((f"{value:#x}", f"{value:#x}u", str(value & (1 << 63) - 1)))
    if kind < 0.3:
        return f"{random.choice(_UNARY)}({text(random, addresses, depth - 1)})"
    if kind < 0.45:
        return f"*({random.choice(_POINTERS)} *)({text(random, addresses, depth - 1 if random.random() < 0.1 else 0)})"
    left, right = text(random, addresses, depth - 1), text(random, addresses, depth - 1)
    if kind < 0.5:
        return f"(({random.choice(_POINTERS)} *)x{random.randrange(30)})[({right}) & 63] ^ ({left})"
    return f"({left}) {random.choice(_BINARY)} ({right})"
