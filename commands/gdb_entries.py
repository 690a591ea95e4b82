# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: functions that begin with NOPs for ftrace. Standard library only."""

import contextlib
import struct
from typing import Any

import gdb

# Bytes after a function's symbol that may be reserved for patching. Linux has two instructions there, and uses no more
# than that (arch/arm64/Makefile, CC_FLAGS_FTRACE).
MOST_PATCHED = 32
# NOP; BTI c, j and jc; MOV X9, X30, which Linux's ftrace puts in place of the first NOP (ftrace_init_nop).
NOPS = (0xD503201F, 0xD503245F, 0xD503249F, 0xD50324DF, 0xAA1E03E9)


def function_in(start: int, end: int) -> tuple[Any, int] | None:
    """The function at `start` in the debug information, or the first before `end`, and its start address.

    gcc before 13 lets it begin after the NOPs that -fpatchable-function-entry puts after the symbol (GCC bug 98776).
    """
    for address in range(start, min(end, start + MOST_PATCHED), 4):
        block = function = None
        with contextlib.suppress(RuntimeError):  # there is no debug information
            block = gdb.block_for_pc(address)
        while block is not None:  # outwards, through functions that are inlined there
            function = block.function or function
            block = block.superblock
        if function is not None:
            entry = int(function.value().address)
            return (function, entry) if start <= entry < end else None
    return None


def only_nops(start: int, end: int) -> bool:
    """Whether the instructions from `start` to `end` change nothing except x9, which passes no argument."""
    try:
        data = bytes(gdb.selected_inferior().read_memory(start, end - start)) if start < end else b""
    except gdb.MemoryError:
        return False
    return all(word in NOPS for (word,) in struct.iter_unpack("<I", data))


def known_from(pc: int) -> int:
    """Where gdb knows the arguments of the function whose symbol is at `pc`, if only NOPs are before that; else 0."""
    described = function_in(pc, pc + MOST_PATCHED)
    return described[1] if described and described[1] != pc and only_nops(pc, described[1]) else 0
