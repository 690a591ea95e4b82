# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: functions that begin with NOPs for ftrace. Standard library only."""

import contextlib
import re
import struct
from typing import Any

import gdb

# Bytes after a function's symbol that may be reserved for patching. Linux has two instructions there, and uses no more
# than that (arch/arm64/Makefile, CC_FLAGS_FTRACE).
MOST_PATCHED = 32
# NOP; BTI c, j and jc; MOV X9, X30, which Linux's ftrace puts in place of the first NOP (ftrace_init_nop).
NOPS = (0xD503201F, 0xD503245F, 0xD503249F, 0xD50324DF, 0xAA1E03E9)


SCALARS = gdb.TYPE_CODE_INT, gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_ENUM, gdb.TYPE_CODE_BOOL, gdb.TYPE_CODE_CHAR


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


# What gdb says of a location that is neither a register nor a list for ranges of addresses, and of the caller's stack.
_COMPUTED, _ON_STACK = "a complex DWARF expression:", re.compile(r"\s*0: DW_OP_fbreg (\d+)\n,")


def show_arguments(pc: int, entry: int) -> None:
    """Show the arguments of the function whose symbol is at `pc` and that gdb knows from `entry` on.

    May select a frame, which is to be undone. A function that is not optimised has its arguments on its stack for all
    of its addresses, by debug information, and has yet to store them. Until then they are where the AAPCS64 passes
    them. Functions that the compiler has cloned (`name.isra.0`) are optimised.
    """
    scope = block = gdb.block_for_pc(entry)
    while scope is not None:  # outwards, through functions that are inlined there
        block = block if scope.function is None else scope
        scope = scope.superblock
    _, *parts = re.split(r"^Symbol (\S+) is ", said(f"info scope *{entry:#x}"), flags=re.MULTILINE)
    where = dict(zip(parts[::2], parts[1::2], strict=True))
    arguments = [(symbol, where.get(symbol.name, "")) for symbol in block if symbol.is_argument]
    stored = [_ON_STACK.match(text.removeprefix(_COMPUTED)) for _, text in arguments]
    if (
        "." in said(f"info symbol {pc}").split()[0]
        or all(stored)
        or not all(text.startswith(_COMPUTED) for _, text in arguments)
    ):
        # A frame with the registers of now, as if the guest were at `entry`. gdb.Frame has no such frames, and gdb 13
        # shows nothing of them by info args.
        gdb.execute(f"frame view $sp {entry:#x}")
        return
    passed = _Passed()
    for (symbol, _), on_stack in zip(arguments, stored, strict=True):
        register = passed.register(symbol.type.strip_typedefs())
        if on_stack:
            pointer = gdb.Value(unsigned("$sp") + int(on_stack[1])).cast(symbol.type.pointer())
            value = pointer.dereference().format_string()
        elif register:
            data = unsigned(register).to_bytes(8, "little")[: symbol.type.sizeof]
            value = gdb.Value(data, symbol.type).format_string()
        else:
            value = "<not stored yet where debug information has it>"
        gdb.write(f"{symbol.name} = {value}\n")


def said(command: str) -> str:
    """gdb's output for a command. gdb 18 puts it in MI's stream records if it speaks MI."""
    text: str = gdb.execute(command, to_string=True)
    return re.sub(r'^~"(.*)\\n"$', r"\1", text, flags=re.MULTILINE)


def unsigned(expression: str) -> int:
    """The value of an expression as an unsigned number of 64 bits."""
    return int(gdb.parse_and_eval(f"(unsigned long) {expression}"))


class _Passed:
    """The registers in which a function is passed its arguments (AAPCS64, "Parameter passing", stage C)."""

    def __init__(self) -> None:
        self._general = self._vector = 0  # registers that are taken

    def register(self, kind: Any) -> str:
        """An expression for the next argument's register. Empty after the last one that can be told.

        Those are numbers and pointers of at most 8 bytes, as long as there is nothing else before them.
        """
        if kind.code in SCALARS and kind.sizeof <= 8 and self._general < 8:
            self._general += 1
            return f"$x{self._general - 1}"
        if kind.code == gdb.TYPE_CODE_FLT and kind.sizeof <= 8 and self._vector < 8:
            self._vector += 1
            return f"$d{self._vector - 1}.u"
        if kind.code not in (*SCALARS, gdb.TYPE_CODE_FLT) or kind.sizeof > 8:
            self._general = self._vector = 8
        return ""
