# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: functions that begin with NOPs for ftrace. Standard library only.

gcc before 13 has a function begin behind those NOPs in debug information. At the symbol, where kprobes are, gdb then
knows no arguments and shows the line of what is before the function.
"""

import contextlib
import re
import struct
from collections.abc import Iterator
from typing import Any

import gdb
from gdb.FrameDecorator import FrameDecorator

# Bytes after a function's symbol that may be reserved for patching. Linux has two instructions there, and uses no more
# than that (arch/arm64/Makefile, CC_FLAGS_FTRACE).
MOST_PATCHED = 32
# NOP; BTI c, j and jc; MOV X9, X30, which Linux's ftrace puts in place of the first NOP (ftrace_init_nop).
NOPS = (0xD503201F, 0xD503245F, 0xD503249F, 0xD50324DF, 0xAA1E03E9)


NOTICE = (
    "gdb's debug information has this function from {:#x} on, behind NOPs. Here it shows no line of\n"
    "it, and expressions do not know its arguments: info args and backtrace have both.\n"
)
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


# What gdb says of locations: in a register, and in the caller's stack (info scope).
_IN_REGISTER = re.compile(r"a variable in \$([xv]\d+)(?:,|$)", re.MULTILINE)
_COMPUTED, _ON_STACK = "a complex DWARF expression:", re.compile(r"\s*0: DW_OP_fbreg (\d+)\n\s*(?:,|$|Range)")
_RANGE = re.compile(r"^  Range 0x([0-9a-f]+)-0x([0-9a-f]+): ", re.MULTILINE)


def arguments(pc: int, entry: int) -> list[tuple[Any, Any]]:
    """The arguments of the function whose symbol is at `pc` and that gdb knows from `entry` on: symbols and values.

    A value is None where it is not known. They are read from where debug information has them at `entry`: gdb has no
    frame of another address than the PC that its Python can evaluate in. A function that is not optimised has them on
    its stack for all of its addresses, by debug information, and has yet to store them. Until then they are where the
    AAPCS64 passes them. Functions that the compiler has cloned (`name.isra.0`) are optimised.
    """
    scope = block = gdb.block_for_pc(entry)
    while scope is not None:  # outwards, through functions that are inlined there
        block = block if scope.function is None else scope
        scope = scope.superblock
    _, *parts = re.split(r"^Symbol (\S+) is ", said(f"info scope *{entry:#x}"), flags=re.MULTILINE)
    where = dict(zip(parts[::2], parts[1::2], strict=True))
    symbols = [(symbol, _at(entry, where.get(symbol.name, ""))) for symbol in block if symbol.is_argument]
    stored = [_stack_offset(text) for _, text in symbols]
    optimised = (
        "." in said(f"info symbol {pc}").split()[0]
        or all(offset is not None for offset in stored)
        or not all(text.startswith(_COMPUTED) for _, text in symbols)
    )
    passed, values = _Passed(), []
    for (symbol, text), offset in zip(symbols, stored, strict=True):
        in_register = _IN_REGISTER.match(text)
        if not optimised:
            register = passed.register(symbol.type.strip_typedefs())
        else:
            register = in_register[1] if in_register else ""
        values.append((symbol, _value(symbol.type, register, offset)))
    return values


def _at(entry: int, text: str) -> str:
    """The location at `entry`, of what gdb says of a symbol that may have different ones."""
    _, *parts = _RANGE.split(text)
    if not parts:
        return text
    ranges = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return next((where for start, end, where in ranges if int(start, 16) <= entry < int(end, 16)), "")


def _stack_offset(text: str) -> int | None:
    found = _ON_STACK.match(text.removeprefix(_COMPUTED))
    return int(found[1]) if found else None


def _value(kind: Any, register: str, offset: int | None) -> Any:
    """The value in a register or, without one, at an offset in the stack. None if it is in neither."""
    frame, size = gdb.newest_frame(), kind.sizeof
    if register:
        data = bytes_of(frame.read_register(register))
        return gdb.Value(data[:size], kind) if size <= len(data) else None
    if offset is None:
        return None
    address = int.from_bytes(bytes_of(frame.read_register("sp")), "little") + offset
    return gdb.Value(address).cast(kind.pointer()).dereference()


def bytes_of(register: Any) -> bytes:
    """The bytes of the value of a general or a vector register. gdb 13 has no Value.bytes."""
    vector = register.type.code == gdb.TYPE_CODE_UNION
    words = [register["d"]["u"][n] for n in range(2)] if vector else [register]
    return b"".join(int(word.cast(gdb.lookup_type("unsigned long"))).to_bytes(8, "little") for word in words)


def show_arguments(pc: int, entry: int) -> None:
    """Show the `arguments` as `info args` does."""
    for symbol, value in arguments(pc, entry):
        text = f"<not known before {entry:#x}>" if value is None else value.format_string()
        gdb.write(f"{symbol.name} = {text}\n")


class EntryFrame(FrameDecorator):  # type: ignore[misc]
    """The frame of a guest at a function's symbol, shown in a backtrace as from where gdb knows the function."""

    def __init__(self, frame: Any, entry: int) -> None:
        super().__init__(frame)
        self._pc, self._entry = frame.inferior_frame().pc(), entry
        self._line = gdb.find_pc_line(entry)

    def function(self) -> str:
        """The function's name. gdb may have it from the symbol alone."""
        described = function_in(self._pc, self._entry + 4)
        return str(described[0].print_name if described else super().function())

    def filename(self) -> str | None:
        """The function's file, while gdb has that of the line before."""
        return None if self._line.symtab is None else str(self._line.symtab.filename)

    def line(self) -> int:
        """Its line there."""
        return int(self._line.line)

    def frame_args(self) -> list[Any]:
        """Its arguments that are known."""
        return [Argument(*each) for each in arguments(self._pc, self._entry) if each[1] is not None]

    def frame_locals(self) -> None:
        """None: it has not begun."""


class Argument:
    """A symbol with its value, as a frame decorator gives them (GDB manual, "Frame Decorator API")."""

    def __init__(self, symbol: Any, value: Any) -> None:
        self._symbol, self._value = symbol, value

    def symbol(self) -> Any:
        """The symbol, for its name."""
        return self._symbol

    def value(self) -> Any:
        """The value."""
        return self._value


class EntryFilter:
    """The frame filter that makes an `EntryFrame` of the innermost frame where it is one.

    Elsewhere it is disabled: with any filter that is enabled, gdb shows all frames in another way, and without the
    arguments whose values it does not know.
    """

    name, priority = "armprobe-entry", 100

    def __init__(self) -> None:
        self._wanted = True
        gdb.frame_filters[self.name] = self

    @property
    def enabled(self) -> bool:
        """Whether gdb is to use it now. It asks before each backtrace."""
        return self._wanted and bool(known_from(gdb.newest_frame().pc()))

    @enabled.setter
    def enabled(self, wanted: bool) -> None:
        self._wanted = wanted  # by gdb's enable and disable frame-filter

    def filter(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The frames, the first of them perhaps decorated."""
        for frame in frames:
            inner = frame.inferior_frame()
            entry = 0 if inner.level() else known_from(inner.pc())
            yield EntryFrame(frame, entry) if entry else frame


def said(command: str) -> str:
    """gdb's output for a command. gdb 18 puts it in MI's stream records if it speaks MI."""
    text: str = gdb.execute(command, to_string=True)
    return re.sub(r'^~"(.*)\\n"$', r"\1", text, flags=re.MULTILINE)


class _Passed:
    """The registers in which a function is passed its arguments (AAPCS64, "Parameter passing", stage C)."""

    def __init__(self) -> None:
        self._general = self._vector = 0  # registers that are taken

    def register(self, kind: Any) -> str:
        """The next argument's register. Empty after the last one that can be told.

        Those are numbers and pointers of at most 8 bytes, as long as there is nothing else before them.
        """
        if kind.code in SCALARS and kind.sizeof <= 8 and self._general < 8:
            self._general += 1
            return f"x{self._general - 1}"
        if kind.code == gdb.TYPE_CODE_FLT and kind.sizeof <= 8 and self._vector < 8:
            self._vector += 1
            return f"v{self._vector - 1}"
        if kind.code not in (*SCALARS, gdb.TYPE_CODE_FLT) or kind.sizeof > 8:
            self._general = self._vector = 8
        return ""
