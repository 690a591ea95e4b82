# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF call frame information for debuggers: where functions keep their callers' registers, found in their code.

Without it gdb analyses the start of a function, and gives up at an instruction that it does not expect, such as the
NOPs for ftrace in every function of a distribution's kernel (13.1, aarch64_analyze_prologue). The code understood here
keeps frame records (AAPCS64, "The Frame Pointer"), as the kernel does: a function stores x29 and x30 as a pair, sets
x29 to its address, and loads both again before it returns. Other functions are left to gdb. If a frame is so large that
no immediate has its size, which no kernel's is, the record is found and only the caller's sp is wrong.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from .leb128 import uleb128

_FP, _LR, _SP = 29, 30, 31  # DWARF for the Arm 64-bit Architecture, "DWARF register names"
_RECORD: Final = 16  # bytes of a frame record
_WINDOW: Final = 64  # instructions: the most in which a function sets up its frame, or removes it

_State = tuple[int, int]
"""The canonical frame address (the caller's sp): a register, x29 or sp, and bytes to add to it.

It is x29 where the function has a frame record, which is at x29, and sp where x29 and x30 still have, or have again,
their values at the function's entry.
"""
_ENTERED: Final[_State] = (_SP, 0)

_SETS_FP: Final = re.compile(  # add x29, sp, #imm, which for 0 is mov x29, sp
    b"\xfd[%b][\\x00-\\x3f]\x91" % b"".join(b"\\x%02x" % byte for byte in range(3, 256, 4)), re.DOTALL
)
_LOADS_RECORD: Final = re.compile(  # ldp x29, x30, [sp, #imm] or [sp], #imm
    rb"\xfd[\x7b\xfb](?:[\x40-\x5f]\xa9|[\xc0-\xdf]\xa8)", re.DOTALL
)

_CLEARS_LR: Final = 0xAA1F_03FE  # mov x30, xzr

# Bits 31 to 24 of all branches (Arm ARM, C4.1.66, "Branches, Exception Generating and System instructions"), and more
_BRANCHES: Final = frozenset({*range(0x14, 0x18), *range(0x34, 0x38), 0x54, *range(0xB4, 0xB8), 0xD6, 0xD7})

# DWARF 4, section 6.4.2; offsets are in units of -8 bytes, advances in units of 4.
_ADVANCE, _OFFSET = 0x40, 0x80  # with their first operand in the low 6 bits
_ADVANCE2, _ADVANCE4, _UNDEFINED, _SAME_VALUE, _DEF_CFA, _DEF_CFA_OFFSET = 0x03, 0x04, 0x07, 0x08, 0x0C, 0x0E
# x0 to x17 are not a caller's any more (AAPCS64, 6.1.1); without a rule gdb shows those of the innermost frame.
_LOST: Final = b"".join(bytes((_UNDEFINED, register)) for register in range(18))
_COMMON: Final = struct.pack("<IBBBBB", 0xFFFF_FFFF, 1, 0, 4, 0x78, _LR) + bytes((_DEF_CFA, _SP, 0)) + _LOST


def debug_frame(functions: Iterable[tuple[int, int]], code: bytes, address: int) -> bytes:
    """The contents of a .debug_frame section for `code`, which is at virtual `address`, a multiple of 4.

    `functions` are their start and end addresses, in order; they do not overlap.
    """
    words = array("I", code[: len(code) // 4 * 4])
    sets, loads = _find(_SETS_FP, code), _find(_LOADS_RECORD, code)
    entries = [_entry(_COMMON)]
    for start, end in functions:
        first, last = (start - address) // 4, min((end - address) // 4, len(words))
        own_sets = sets[bisect_left(sets, first) : bisect_left(sets, last)]
        if _is_outermost(words[first:last], [at - first for at in own_sets]):
            program = bytes((_UNDEFINED, _LR))
        elif own_sets:
            own_loads = loads[bisect_left(loads, own_sets[0]) : bisect_left(loads, last)]
            program = _instructions(_rows(words, first, last, own_sets, own_loads), first, last)
        else:
            continue
        entries.append(_entry(struct.pack("<IQQ", 0, start, end - start) + program))
    return b"".join(entries)


def has_record(code: bytes, offset: int) -> bool | None:
    """Whether the function with instructions `code` has its frame record, at x29, when it is at byte `offset`.

    If not, x29 is the caller's and x30 is the function's return address. None for a function that keeps no frame
    record.
    """
    words = array("I", code[: len(code) // 4 * 4])
    sets = _find(_SETS_FP, code)
    if not sets:
        return None
    loads = [load for load in _find(_LOADS_RECORD, code) if load > sets[0]]
    rows = _rows(words, 0, len(words), sets, loads)
    state = max((index for index in rows if index <= offset // 4), default=None)
    return state is not None and rows[state][0] == _FP


def _find(instruction: re.Pattern[bytes], code: bytes) -> list[int]:
    return [match.start() // 4 for match in instruction.finditer(code) if match.start() % 4 == 0]


def _is_outermost(words: array[int], sets: list[int]) -> bool:
    """Whether a function has no caller: its frame record is zeros, or it makes calls and keeps x30 nowhere."""
    if sets:
        zeros = 0xA900_7FFF | (words[sets[0]] >> 13 & 0x7F) << 15  # stp xzr, xzr, [sp, #imm]
        return zeros in words[max(0, sets[0] - _WINDOW) : sets[0]]
    calls = False
    for word in words:
        if word >> 26 == 0b100101 or word & 0xFFFF_FC1F == 0xD63F_0000:  # BL, BLR
            calls = True
        elif word >> 26 == 0b000101 or word == _CLEARS_LR:
            continue
        elif _LR in (word & 0x1F, word >> 10 & 0x1F, word >> 16 & 0x1F):  # the fields that name registers
            return False
    return calls


def _rows(words: array[int], first: int, last: int, sets: list[int], loads: list[int]) -> dict[int, _State]:
    """The states of the function in words[first:last], each by the number of the first instruction that has it.

    `sets` are the instructions in it that set x29 from sp, one at least; `loads` those after that load a frame record.
    """
    rows: dict[int, _State] = {}
    frames: dict[int, _State] = {}
    skips: set[int] = set()  # parts without a frame, which are reached by jumps before there is one
    for at in sets:
        begin = max(first, at - _WINDOW)
        depth, entered = 0, begin == first
        found: dict[int, _State] = {}
        for index, word in enumerate(words[begin:at], begin):
            if word >> 24 in _BRANCHES:
                if _leaves(word):
                    depth, entered, found = 0, True, {index + 1: _ENTERED}
                elif not frames and at < (target := index + _distance(word)) < last:
                    skips.add(target)
            elif change := _sp_change(word):
                depth = max(0, depth - change)
                found[index + 1] = (_SP, depth)
        if entered or not frames:
            size = depth - (words[at] >> 10 & 0xFFF)
            frames[at] = (_FP, size if size >= _RECORD and size % 8 == 0 else _RECORD)
            rows |= found
            rows[at + 1] = frames[at]
    for target in skips:
        rows[target] = _ENTERED
    for target in skips:
        end = next((i + 1 for i in range(target, min(last, target + _WINDOW)) if _leaves(words[i])), last)
        rows.setdefault(end, frames[sets[0]])
    for at in loads:
        frame = frames[sets[0] if len(frames) == 1 else max(place for place in frames if place < at)]
        word = words[at]
        offset = (word >> 15 & 0x3F) * 8
        # The record is at sp + offset, or at sp and sp is raised by the offset.
        depth = max(0, frame[1] - offset) if _sp_change(word) else frame[1] + offset
        rows[at + 1] = (_SP, depth)
        for index in range(at + 1, min(last, at + _WINDOW)):
            word = words[index]
            if _leaves(word):
                rows.setdefault(index + 1, frame)
                break
            if change := _sp_change(word):
                depth = max(0, depth - change)
                rows[index + 1] = (_SP, depth)
    return rows


def _leaves(word: int) -> bool:
    """Whether the next instruction never follows: B, or BR, RET, ERET and their authenticating forms."""
    return word >> 26 == 0b000101 or word & 0xFE20_0000 == 0xD600_0000


def _distance(word: int) -> int:
    """The distance of a forward B.cond, CBZ, CBNZ, TBZ or TBNZ in instructions; 0 for other instructions."""
    if word & 0xFF00_0010 == 0x5400_0000 or word & 0x7E00_0000 == 0x3400_0000:
        return max(0, _signed(word >> 5, 19))
    return max(0, _signed(word >> 5, 14)) if word & 0x7E00_0000 == 0x3600_0000 else 0


def _sp_change(word: int) -> int:
    """The bytes that an instruction adds to sp: ADD and SUB (immediate), and loads and stores with writeback."""
    if word & 0x3E0 != 0x3E0:  # another base register
        return 0
    if word & 0xBF80_001F == 0x9100_001F:
        size = (word >> 10 & 0xFFF) << (12 if word & 1 << 22 else 0)
        return -size if word & 1 << 30 else size
    if word & 0x3A80_0000 == 0x2880_0000:  # a pair; the size of a register is in bits 31 and 30
        shift = 2 + (word >> 30) if word & 1 << 26 else 2 + (word >> 31)
        return _signed(word >> 15, 7) << shift
    if word & 0x3B20_0400 == 0x3800_0400:
        return _signed(word >> 12, 9)
    return 0


def _signed(value: int, bits: int) -> int:
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def _instructions(rows: dict[int, _State], first: int, last: int) -> bytes:
    """The call frame instructions for `rows`, after those for the state at the function's entry."""
    program = []
    place, state = first, _ENTERED
    for index in sorted(rows):
        if index >= last or rows[index] == state:
            continue
        distance = index - place
        if distance >= 1 << 16:
            program.append(struct.pack("<BI", _ADVANCE4, distance))
        elif distance >= 1 << 6:
            program.append(struct.pack("<BH", _ADVANCE2, distance))
        elif distance:
            program.append(bytes((_ADVANCE | distance,)))
        program.append(_change(state[0], rows[index]))
        place, state = index, rows[index]
    return b"".join(program)


@lru_cache(1000)
def _change(register: int, state: _State) -> bytes:
    """The call frame instructions from a state with `register` to `state`."""
    size = uleb128(state[1])
    cfa = bytes((_DEF_CFA_OFFSET, *size)) if state[0] == register else bytes((_DEF_CFA, state[0], *size))
    if state[0] == _FP:
        units = state[1] // 8
        return cfa + bytes((_OFFSET | _FP, *uleb128(units), _OFFSET | _LR, *uleb128(units - 1)))
    return cfa + bytes((_SAME_VALUE, _FP, _SAME_VALUE, _LR)) if register == _FP else cfa


def _entry(content: bytes) -> bytes:
    """An entry with its length, padded with DW_CFA_nop to a multiple of 8 bytes."""
    size = -(-(len(content) + 4) // 8) * 8 - 4
    return struct.pack("<I", size) + content.ljust(size, b"\0")
