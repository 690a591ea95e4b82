# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytecode of agent expressions: its operations and how they are encoded (GDB manual, "Bytecode Descriptions")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .errors import AgentError

MOST_BYTES: Final = 0x1_0000  # the target of a jump has 16 bits

# number: name, bytes of operand
OPERATIONS: Final[dict[int, tuple[str, int]]] = {
    0x02: ("add", 0),
    0x03: ("sub", 0),
    0x04: ("mul", 0),
    0x05: ("div_signed", 0),
    0x06: ("div_unsigned", 0),
    0x07: ("rem_signed", 0),
    0x08: ("rem_unsigned", 0),
    0x09: ("lsh", 0),
    0x0A: ("rsh_signed", 0),
    0x0B: ("rsh_unsigned", 0),
    0x0C: ("trace", 0),
    0x0D: ("trace_quick", 1),
    0x0E: ("log_not", 0),
    0x0F: ("bit_and", 0),
    0x10: ("bit_or", 0),
    0x11: ("bit_xor", 0),
    0x12: ("bit_not", 0),
    0x13: ("equal", 0),
    0x14: ("less_signed", 0),
    0x15: ("less_unsigned", 0),
    0x16: ("ext", 1),
    0x17: ("ref8", 0),
    0x18: ("ref16", 0),
    0x19: ("ref32", 0),
    0x1A: ("ref64", 0),
    0x20: ("if_goto", 2),
    0x21: ("goto", 2),
    0x22: ("const8", 1),
    0x23: ("const16", 2),
    0x24: ("const32", 4),
    0x25: ("const64", 8),
    0x26: ("reg", 2),
    0x27: ("end", 0),
    0x28: ("dup", 0),
    0x29: ("pop", 0),
    0x2A: ("zero_ext", 1),
    0x2B: ("swap", 0),
    0x2C: ("getv", 2),
    0x2D: ("setv", 2),
    0x2E: ("tracev", 2),
    0x2F: ("tracenz", 0),
    0x30: ("trace16", 2),
    0x32: ("pick", 1),
    0x33: ("rot", 0),
    0x34: ("printf", 3),
}
_NUMBERS: Final = {name: (number, width) for number, (name, width) in OPERATIONS.items()}
_ABSENT: Final = dict.fromkeys((0x01, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F), "floating-point operations are not supported")


class Decoded(NamedTuple):
    """One operation of an expression."""

    at: int
    """Its offset in bytes."""
    name: str
    operand: int
    text: bytes
    """The format of a printf."""


def width(name: str) -> int:
    """The size of an operation with its operand, in bytes. Raises KeyError for an unknown name."""
    return 1 + _NUMBERS[name][1]


def assemble(operations: Iterable[tuple[str, int]]) -> bytes:
    """The code for operations by their names in the manual, each with its operand (0 for those without).

    An operand is cut to its width. That of a jump is the offset of its target in bytes. Raises AgentError for unknown
    operations, and for printf, whose operand has another form.
    """
    code = bytearray()
    for name, operand in operations:
        if name not in _NUMBERS or name == "printf":
            raise AgentError(f"there is no operation {name!r} in agent expressions")
        number, size = _NUMBERS[name]
        code.append(number)
        code += (operand & (1 << 8 * size) - 1).to_bytes(size, "big")
    return bytes(code)


def assemble_words(words: Iterable[str]) -> bytes:
    """As `assemble`, from operations written NAME or NAME:NUMBER. Raises AgentError."""
    return assemble(map(_operation, words))


def _operation(word: str) -> tuple[str, int]:
    name, _, operand = word.partition(":")
    try:
        return name, int(operand or "0")
    except ValueError:
        raise AgentError(f"{word!r} is no operation of an agent expression: write NAME or NAME:NUMBER") from None


def decode(code: bytes) -> Iterator[Decoded]:
    """The operations of `code` in order. Raises AgentError for unknown operations and for code that ends within one."""
    if len(code) > MOST_BYTES:
        raise AgentError(f"the expression has {len(code)} bytes: at most {MOST_BYTES} are allowed")
    at = 0
    while at < len(code):
        if code[at] not in OPERATIONS:
            what = _ABSENT.get(code[at], "no operation has this number")
            raise AgentError(f"operation {code[at]:#04x} of the expression: {what}")
        name, size = OPERATIONS[code[at]]
        end = at + 1 + size
        if end > len(code):
            raise AgentError(f"the expression ends within its operation {name}")
        operand, text = int.from_bytes(code[at + 1 : end], "big"), b""
        if name == "printf":
            text = code[end : end + (operand & 0xFFFF)]
            if len(text) != operand & 0xFFFF:
                raise AgentError("the expression ends within the format of its printf")
        yield Decoded(at, name, operand, text)
        at = end + len(text)
