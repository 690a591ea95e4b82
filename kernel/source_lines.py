# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of a function's source, and the instructions that they begin at, from a file's DWARF."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from operator import itemgetter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .dwarf import Dwarf, text_of
from .line_pieces import Row

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE


SLIDE: Final = 1 << 16
"""KASLR moves the kernel by a multiple of this."""


def slide(symbol: int, start: int) -> int:
    """How far the kernel has moved, by the address of a symbol, and the one that it has in the file."""
    return (symbol - start + SLIDE // 2) // SLIDE * SLIDE


class SourceFunction(NamedTuple):
    """A function: the `file` and `line` of its declaration, and its addresses from `start` up to `end`.

    `lines` has the numbers of lines that begin an instruction, each with the lowest address of those. The first line is
    one of them. `statements` has the addresses where statements of the file begin, each with the number of its line.
    `rows` are those of the line table, also of other files: the function's own has the number `file_number`.
    """

    name: str
    file: str
    line: int
    start: int
    end: int
    lines: dict[int, int]
    statements: dict[int, int]
    rows: list[Row]
    file_number: int

    def slide(self, symbol: int) -> int:
        """How far the kernel has moved from where its file has it, by the address of the function's symbol."""
        return slide(symbol, self.start)

    def address_of(self, line: int) -> int:
        """Where a line of the file begins. Raises MachineError if no instruction of the function is of it."""
        if line not in self.lines:
            near = sorted(self.lines, key=lambda each: abs(each - line))[:3]
            others = ", ".join(str(each - self.line) for each in sorted(near))
            raise MachineError(f"line {line - self.line} of {self.name} has no instruction: lines {others} have")
        return self.lines[line]


class SourceLines:
    """The source lines of the file whose debug information `dwarf` is."""

    def __init__(self, dwarf: Dwarf) -> None:
        self.dwarf = dwarf
        self._rows: dict[int, list[Row]] = {}  # by the unit's offset

    def knows(self, name: str) -> bool:
        """Whether there is a function of that name, with code or inlined."""
        with self.dwarf.searching():
            return next(self.dwarf.function_entries(name), None) is not None

    def function(self, name: str) -> SourceFunction:
        """The function `name`. Raises MachineError if there is none, or no lines are known of it."""
        entry = self.dwarf.function_entry(name)
        if entry is None:
            raise MachineError(f"the debug information has no function {name}")
        return self._function(entry)

    def at(self, file: str, line: int) -> tuple[SourceFunction, int]:
        """The function that has the line of a file, such as "fs/read_write.c", and the address where it begins.

        Raises MachineError if there is none.
        """
        with self.dwarf.searching():
            for unit in self.dwarf.units():
                if not ends_with(text_of(unit.get_top_DIE(), "DW_AT_name"), file):
                    continue
                for entry in self.dwarf.functions(unit):
                    function = self._function(entry)
                    if ends_with(function.file, file) and line in function.lines:
                        return function, function.lines[line]
        raise MachineError(f"no instruction is of line {line} of a file {file}")

    def _function(self, entry: DIE) -> SourceFunction:
        with self.dwarf.damage_explained():
            name = text_of(entry, "DW_AT_name")
            ranges = self.dwarf.ranges(entry)
            if len(ranges) != 1:
                raise MachineError(f"{name} is not one piece of code: it is inlined, or split")
            ((start, end),) = ranges
            unit: Any = entry.cu
            program: Any = self.dwarf.line_program(unit)
            number = int(entry.attributes["DW_AT_decl_file"].value)
            paths = self.paths(unit, program)
            known = self._rows_of(unit, program)
            first, last = (bisect_left(known, at, key=itemgetter(0)) for at in (start, end))
            rows = known[first:last]
            line = int(entry.attributes["DW_AT_decl_line"].value)
            statements = {row.address: row.line for row in rows if row.is_statement and row.file == number}
            if not statements:
                raise MachineError(f"the debug information has no lines of {name}")
            lines = {line: start}
            for row in rows:
                if row.is_statement and row.file == number:
                    lines[row.line] = min(lines.get(row.line, row.address), row.address)
            return SourceFunction(name, paths(number), line, start, end, lines, statements, rows, number)

    @staticmethod
    def paths(unit: CompileUnit, program: Any) -> Callable[[int], str]:
        """A function that gives the path of a file by its number in the unit's line program (DWARF 5, 6.2.4)."""
        header, folder = program.header, text_of(unit.get_top_DIE(), "DW_AT_comp_dir")
        first = 0 if header.version >= 5 else 1

        def path(number: int) -> str:
            entry = header.file_entry[number - first]
            directories = header.include_directory
            at = entry.dir_index - (0 if header.version >= 5 else 1)
            directory = directories[at].decode("utf-8", "replace") if 0 <= at < len(directories) else ""
            return str(PurePosixPath(folder, directory, entry.name.decode("utf-8", "replace")))

        return path

    def statements(self, unit: Any, program: Any) -> list[tuple[int, int, int]]:
        """The addresses where statements of a unit begin, in order, each with its line and the number of its file."""
        return [(row.address, row.line, row.file) for row in self._rows_of(unit, program) if row.is_statement]

    def _rows_of(self, unit: Any, program: Any) -> list[Row]:
        if unit.cu_offset not in self._rows:
            states = (entry.state for entry in program.get_entries() if entry.state is not None)
            self._rows[unit.cu_offset] = sorted(
                (
                    Row(state.address, state.line, state.file, bool(state.is_stmt), bool(state.discriminator))
                    for state in states
                    if not state.end_sequence and state.line
                ),
                key=itemgetter(0),
            )
        return self._rows[unit.cu_offset]


def ends_with(path: str, end: str) -> bool:
    """Whether the last parts of a path are those of `end`."""
    wanted = PurePosixPath(end).parts
    return bool(wanted) and PurePosixPath(path).parts[-len(wanted) :] == wanted
