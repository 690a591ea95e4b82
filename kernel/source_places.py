# SPDX-License-Identifier: GPL-2.0-or-later
"""Where `perf probe` puts probes: functions, their inlined copies, source lines, and lines that match a pattern.

The rules are those of tools/perf/util/probe-finder.c and dwarf-aux.c of the kernel's sources, so that the places and
their order are perf's. Addresses are those of the file.
"""

from __future__ import annotations

import fnmatch
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .dwarf import Dwarf, number_of, text_of
from .source_lines import SourceLines, ends_with

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

_FUNCTION: Final = "DW_TAG_subprogram"
_INLINED: Final = "DW_TAG_inlined_subroutine"


class Block(NamedTuple):
    """The code of a function, or of a copy that is inlined into another.

    `origin` is the place of the function's declaration in the debug information, `file` and `line` are those of the
    declaration, `call_file` and `call_line` those of the call that an inlined copy replaces. Files are numbers of the
    unit's line program. `entry` and `ranges` are addresses. `parent` is the block around an inlined copy.
    """

    name: str
    origin: int
    file: int
    line: int
    call_file: int
    call_line: int
    entry: int
    ranges: tuple[tuple[int, int], ...]
    parent: Block | None

    @property
    def function(self) -> Block:
        """The function whose code it is in."""
        return self if self.parent is None else self.parent.function

    def has(self, address: int) -> bool:
        """Whether an address is in it."""
        return any(start <= address < end for start, end in self.ranges)


class Place(NamedTuple):
    """A place for a probe: an address, and the function or inlined copy that it is in."""

    address: int
    block: Block


class Candidate(NamedTuple):
    """A line of a file that may begin at an address."""

    file: int
    line: int
    address: int


class ListedLines(NamedTuple):
    """Lines of `file` from `first` to `last`, and where those begin that can be probed.

    `base` is the line from which a function's lines are counted, 0 for those of a file. `function` has some of them.
    """

    file: str
    base: int
    first: int
    last: int
    lines: dict[int, int]
    function: Block


class _Unit:
    """The code of a compilation unit."""

    def __init__(self, dwarf: Dwarf, lines: SourceLines, unit: CompileUnit) -> None:
        self._dwarf, self.unit = dwarf, unit
        program: Any = dwarf.line_program(unit)
        self.path = lines.paths(unit, program)
        self.rows = [Candidate(file, line, address) for address, line, file in lines.statements(unit, program)]
        self.files = range(len(program.header.file_entry) + (1 if program.header.version < 5 else 0))
        self.blocks = [*self._blocks(unit.get_top_DIE(), None)]
        self._first: dict[int, Candidate] = {}
        for row in self.rows:
            self._first.setdefault(row.address, row)
        for block in self.blocks:
            if block.parent is None:
                self._first[block.entry] = Candidate(block.file, block.line, block.entry)

    def _blocks(self, entry: DIE, parent: Block | None) -> Iterator[Block]:
        for child in entry.iter_children():
            self._dwarf.spend()
            inner = parent
            if child.tag in (_FUNCTION, _INLINED):
                ranges = self._dwarf.ranges(child)
                if not ranges and "DW_AT_entry_pc" not in child.attributes:  # one that is declared, or always inlined
                    continue
                inner = _block(self._dwarf, child, ranges, parent if child.tag == _INLINED else None)
                yield inner
            if child.has_children:
                yield from self._blocks(child, inner)

    def numbers(self, file: str) -> set[int]:
        """The numbers of the files whose path ends so."""
        return {number for number in self.files if ends_with(self.path(number), file)}

    def begins(self, candidate: Candidate) -> bool:
        """Whether the line is the one that perf shows for the address (cu_find_lineinfo)."""
        found = self._first.get(candidate.address)
        return found is None or (found.file, found.line) == (candidate.file, candidate.line)

    def candidates(self, within: Block | None = None) -> Iterator[Candidate]:
        """The lines of a block without those of others that are inlined there, or of all (die_walk_lines)."""
        inside = [] if within is None else [each for each in self.blocks if _is_inside(each, within)]
        for row in self.rows if within is None else self._rows_in(within):
            if within is None or self._is_own(row, within, inside):
                yield row
        for block in self.blocks if within is None else (within, *inside):
            if block is not within and block.parent is not None and block.call_line:
                yield Candidate(block.call_file, block.call_line, block.entry)
            yield Candidate(block.file, block.line, block.entry)

    def _rows_in(self, block: Block) -> Iterator[Candidate]:
        for part in sorted(block.ranges):
            first, last = (bisect_left(self.rows, at, key=attrgetter("address")) for at in part)
            yield from self.rows[first:last]

    def _is_own(self, row: Candidate, within: Block, inside: list[Block]) -> bool:
        inlined = next((each for each in reversed(inside) if each.has(row.address)), None)
        if inlined is None or (inlined.call_file, inlined.call_line) == (within.file, row.line):
            return True
        return (inlined.file, inlined.line) == (within.file, within.line)

    def block_at(self, address: int) -> Block | None:
        """The innermost block that an address is in."""
        return next((each for each in reversed(self.blocks) if each.has(address)), None)


def _block(dwarf: Dwarf, entry: DIE, ranges: tuple[tuple[int, int], ...], parent: Block | None) -> Block:
    declared = entry
    while "DW_AT_abstract_origin" in declared.attributes:
        dwarf.spend()
        declared = declared.get_DIE_from_attribute("DW_AT_abstract_origin")
    name = declared.attributes["DW_AT_name"].value.decode("utf-8", "replace")
    start = entry.attributes.get("DW_AT_entry_pc")
    first = ranges[0][0] if ranges else 0
    if start is not None:  # an address, or an offset from there (DWARF 5, 2.18)
        first = int(start.value) + (0 if start.form == "DW_FORM_addr" else first)
    return Block(
        name,
        declared.offset,
        number_of(declared, "DW_AT_decl_file"),
        number_of(declared, "DW_AT_decl_line"),
        number_of(entry, "DW_AT_call_file"),
        number_of(entry, "DW_AT_call_line"),
        first,
        ranges,
        parent,
    )


class SourcePlaces:
    """The places in the file whose source lines `lines` are."""

    def __init__(self, lines: SourceLines) -> None:
        self._dwarf, self._lines = lines.dwarf, lines
        self._units: dict[int, _Unit] = {}

    def of_function(self, name: str, file: str = "", offset: int = 0) -> list[Place]:
        """The entries of a function and of its inlined copies, or so many bytes behind each."""
        with self._dwarf.searching():
            places = [Place(block.entry + offset, block) for block in self._entries(name, file)]
        return list({place.address: place for place in reversed(places)}.values())[::-1]

    def of_line(self, name: str, file: str, line: int) -> list[Place]:
        """Where a line begins: of a function, counted from its declaration, or of a file if `name` is empty."""
        with self._dwarf.searching():
            found: dict[int, Place] = {}
            shared: dict[int, Place] = {}  # where perf shows another line
            near: set[int] = set()
            for unit, numbers, at in self._lines_of(name, file, line):
                for candidate in unit.candidates():
                    if candidate.file in numbers:
                        near.add(candidate.line - at + line)
                        if candidate.line == at:
                            self._add(found if unit.begins(candidate) else shared, unit, candidate.address)
        found = found or shared
        if not found:
            others = ", ".join(map(str, sorted(sorted(near, key=lambda each: abs(each - line))[:3])))
            hint = f": lines {others} have" if others else ""
            where = f"line {line} of {name}" if name else f"line {line} of a file {file}"
            raise MachineError(f"no instruction begins {where}{hint}")
        return list(found.values())

    def matching(self, name: str, file: str, pattern: str, read: Callable[[str], list[str]]) -> list[Place]:
        """Where lines begin that match a pattern in which spaces do not count, of a function or a file.

        `read` gives the lines of a source.
        """
        matches = re.compile(fnmatch.translate(re.sub(r"\\(.)", r"[\1]", "".join(pattern.split())))).match
        texts: dict[str, set[int]] = {}

        def lines(path: str) -> set[int]:
            if path not in texts:
                texts[path] = {at for at, text in enumerate(read(path), 1) if matches("".join(text.split()))}
            return texts[path]

        found: dict[int, Place] = {}
        with self._dwarf.searching():
            for unit, numbers, block in self._walks(name, file):
                for candidate in unit.candidates(block):
                    if candidate.file in numbers and candidate.line in lines(unit.path(candidate.file)):
                        self._add(found, unit, candidate.address)
        if not found:
            raise MachineError(f"no instruction begins a line of {name or file} that matches {pattern!r}")
        return list(found.values())

    def listing(self, name: str, file: str, first: int, last: int | None) -> ListedLines:
        """Lines of a function, counted from its declaration, or of a file; up to the last with code without `last`."""
        with self._dwarf.searching():
            path, base, lines = "", 0, dict[int, int]()
            function: Block | None = None
            for unit, numbers, block in self._walks(name, file):
                path = path or unit.path(min(numbers))
                base = block.line if block is not None else 0
                function = function or (block or unit.blocks[0]).function
                for candidate in unit.candidates(block):
                    line = candidate.line - base
                    wanted = first <= line and (last is None or line <= last)
                    if candidate.file in numbers and wanted and unit.begins(candidate):
                        lines[line] = min(lines.get(line, candidate.address), candidate.address)
        if not lines or function is None:
            raise MachineError(f"no instruction begins a line of {name or file} from {first} on")
        return ListedLines(path, base, first, max(lines) if last is None else last, lines, function)

    def _add(self, found: dict[int, Place], unit: _Unit, address: int) -> None:
        block = unit.block_at(address)
        if block is not None:
            found.setdefault(address, Place(address, block))

    def _walks(self, name: str, file: str) -> Iterator[tuple[_Unit, set[int], Block | None]]:
        """The code of a function, or of a file if `name` is empty: units, numbers of files, and blocks or None."""
        if name:
            yield from ((unit, {block.file}, block) for unit, block in self._instances(name, file))
        else:
            yield from ((unit, numbers, None) for unit, numbers in self._units_with(file))

    def _lines_of(self, name: str, file: str, line: int) -> Iterator[tuple[_Unit, set[int], int]]:
        """The units that have a line, with the numbers of its file, and its number in the file."""
        if not name:
            yield from ((unit, numbers, line) for unit, numbers in self._units_with(file))
            return
        seen: set[tuple[int, int]] = set()
        for unit, block in self._instances(name, file):
            if (unit.unit.cu_offset, block.origin) not in seen:
                seen.add((unit.unit.cu_offset, block.origin))
                yield unit, {block.file}, block.line + line

    def _entries(self, name: str, file: str) -> Iterator[Block]:
        """The code of a function. A unit is read only if the function is inlined in it."""
        for entry in self._dwarf.function_entries(name):
            ranges = self._dwarf.ranges(entry)
            if not ranges or file:
                yield from (block for _, block in self._instances(name, file))
                return
            yield _block(self._dwarf, entry, ranges, None)

    def _instances(self, name: str, file: str) -> Iterator[tuple[_Unit, Block]]:
        """The code of a function of C: its own, or its inlined copies. Raises MachineError if there is none."""
        count = 0
        for entry in self._dwarf.function_entries(name):
            unit = self._unit(entry.cu)
            own = [block for block in unit.blocks if block.origin == entry.offset and block.line]
            if own and file and not ends_with(unit.path(own[0].file), file):
                continue
            count += len(own)
            yield from ((unit, block) for block in own)
        if not count:
            where = f" in a file {file}" if file else ""
            raise MachineError(f"the debug information has no function {name}{where}")

    def _units_with(self, file: str) -> Iterator[tuple[_Unit, set[int]]]:
        """The units that are compiled from a file, or if there is none, that include it."""
        units = list(self._dwarf.units())
        named = [unit for unit in units if ends_with(text_of(unit.get_top_DIE(), "DW_AT_name"), file)]
        count = 0
        for unit in named or units:
            program: Any = self._dwarf.line_program(unit) if not named else None
            names = (
                [] if program is None else [each.name.decode("utf-8", "replace") for each in program.header.file_entry]
            )
            if named or PurePosixPath(file).name in (PurePosixPath(each).name for each in names):
                found = self._unit(unit)
                if numbers := found.numbers(file):
                    count += 1
                    yield found, numbers
        if not count:
            raise MachineError(f"the debug information has no file {file}")

    def _unit(self, unit: Any) -> _Unit:
        if unit.cu_offset not in self._units:
            with self._dwarf.damage_explained():
                self._units[unit.cu_offset] = _Unit(self._dwarf, self._lines, unit)
        return self._units[unit.cu_offset]


def _is_inside(block: Block, outer: Block) -> bool:
    return block.parent is not None and (block.parent is outer or _is_inside(block.parent, outer))
