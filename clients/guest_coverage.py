# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions and lines of the guest the tests execute, written for lcov: the option --armprobe-cov of the plugin
for pytest."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from errno import E2BIG, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.source_lines import SourceFunction, SourceLines
from armprobe.machine import MachineError
from armprobe.probes import ProbeError
from armprobe.probes.function_watches import FunctionCounts, InstructionCounts

if TYPE_CHECKING:
    from armprobe.session import Session

Place = tuple[str, int]
"""The file and the line of a function."""


class GuestCoverage:
    """The calls of the functions that match `patterns`, those of `Kprobes.funccount`, in any number of sessions."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self.calls: Counter[tuple[str, int, str]] = Counter()  # by file, line and name
        self.lines: Counter[tuple[str, int]] = Counter()  # by file and line, where they are known
        self._sources: dict[Path, SourceLines | None] = {}
        self._places: dict[tuple[Path | None, str, str], Place] = {}

    @contextlib.contextmanager
    def of(self, session: Session) -> Iterator[None]:
        """Count the calls in a session while the context lasts. Raises ProbeError if there are too many functions."""
        watches: list[FunctionCounts] = []
        instructions: list[InstructionCounts] = []
        for pattern in self._patterns:
            try:
                watches.append(session.kprobes.funccount(pattern))
                if session.machine.guest.dwarf is not None:
                    instructions.append(session.kprobes.watches.count_instructions(pattern))
            except ProbeError as error:
                if error.errno not in (ENOENT, E2BIG):  # another guest may have some; lines of all of a kernel are many
                    raise
        try:
            yield
        finally:
            found: dict[tuple[str, int, str], int] = {}  # once, also if several patterns match a function
            for watch in watches:
                counted = {function.address: calls for function, calls in watch.counted()}
                for function in watch.functions:
                    place = self._place(session, function.name)
                    found[*place, function.name] = counted.get(function.address, 0)
                watch.close()
            for key, calls in found.items():
                self.calls[key] += calls
            self._count_lines(session, instructions)

    def _count_lines(self, session: Session, counts: Sequence[InstructionCounts]) -> None:
        """A line was executed as often as that of its statements which was executed most."""
        path = session.machine.guest.dwarf
        found: dict[tuple[str, int], int] = {}
        for watch in counts:
            executed = watch.counted()
            for function in watch.functions:
                source = self._source(path, function.name)
                moved = 0 if source is None else source.slide(function.address)
                if source is None or not function.address <= source.start + moved < function.address + function.size:
                    continue  # it is another function of that name
                for address, line in source.statements.items():
                    key = source.file, line
                    found[key] = max(found.get(key, 0), executed.get(address + moved, 0))
            watch.close()
        for key, times in found.items():
            self.lines[key] += times

    def add(self, calls: Sequence[tuple[str, int, str, int]], lines: Sequence[tuple[str, int, int]]) -> None:
        """Add what `rows` and `line_rows` of another process have."""
        for file, line, name, count in calls:
            self.calls[file, line, name] += count
        for file, line, count in lines:
            self.lines[file, line] += count

    def line_rows(self) -> list[tuple[str, int, int]]:
        """The file, number and executions of each line."""
        return [(*key, times) for key, times in sorted(self.lines.items())]

    def rows(self) -> list[tuple[str, int, str, int]]:
        """The file, line, name and calls of each function."""
        return [(*key, calls) for key, calls in sorted(self.calls.items())]

    def lcov(self) -> str:
        """The calls in lcov's format of traces (geninfo(1), FILES).

        lcov refuses a file without lines: where none are known, those are the lines where the functions begin.
        """
        known: dict[str, Counter[int]] = {}
        for file, line, times in self.line_rows():
            known.setdefault(file, Counter())[line] = times
        files: dict[str, list[tuple[int, str, int]]] = {}
        for file, line, name, calls in self.rows():
            files.setdefault(file, []).append((line, name, calls))
        records = []
        for file, functions in files.items():
            lines = known.get(file, Counter())
            for line, _, calls in functions:
                lines[line] = max(lines[line], calls)
            records += ["TN:", f"SF:{file}"]
            records += [f"FN:{line},{name}" for line, name, _ in functions]
            records += [f"FNDA:{calls},{name}" for _, name, calls in functions]
            records += [f"FNF:{len(functions)}", f"FNH:{sum(1 for each in functions if each[2])}"]
            records += [f"DA:{line},{calls}" for line, calls in sorted(lines.items())]
            records += [f"LF:{len(lines)}", f"LH:{sum(1 for calls in lines.values() if calls)}", "end_of_record"]
        return "".join(f"{each}\n" for each in records)

    def _place(self, session: Session, name: str) -> Place:
        path, guest = session.machine.guest.dwarf, Path(session.name).name
        key = path, guest, name
        if key not in self._places:
            self._places[key] = self._declared(path, name) or (guest, 1)
        return self._places[key]

    def _declared(self, path: Path | None, name: str) -> Place | None:
        """Where the file's debug information has the function; None if it is not known, as for one in assembly."""
        function = self._source(path, name)
        return None if function is None else (function.file, function.line)

    def _source(self, path: Path | None, name: str) -> SourceFunction | None:
        if path is None:
            return None
        with contextlib.suppress(MachineError):
            if path not in self._sources:
                self._sources[path] = None  # unless it has debug information
                self._sources[path] = SourceLines(Dwarf(path))
            lines = self._sources[path]
            if lines is not None:
                return lines.function(name)
        return None
