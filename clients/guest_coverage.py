# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions of the guest the tests call, written for lcov: the option --armprobe-cov of the plugin for pytest."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from errno import ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.source_lines import SourceLines
from armprobe.machine import MachineError
from armprobe.probes import ProbeError

if TYPE_CHECKING:
    from armprobe.session import Session

Place = tuple[str, int]
"""The file and the line of a function."""


class GuestCoverage:
    """The calls of the functions that match `patterns`, those of `Kprobes.funccount`, in any number of sessions."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self.calls: Counter[tuple[str, int, str]] = Counter()  # by file, line and name
        self._sources: dict[Path, SourceLines | None] = {}
        self._places: dict[tuple[Path | None, str, str], Place] = {}

    @contextlib.contextmanager
    def of(self, session: Session) -> Iterator[None]:
        """Count the calls in a session while the context lasts. Raises ProbeError if there are too many functions."""
        watches = []
        for pattern in self._patterns:
            try:
                watches.append(session.kprobes.funccount(pattern))
            except ProbeError as error:
                if error.errno != ENOENT:  # another guest may have some
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

    def add(self, calls: Sequence[tuple[str, int, str, int]]) -> None:
        """Add what `rows` of another process has."""
        for file, line, name, count in calls:
            self.calls[file, line, name] += count

    def rows(self) -> list[tuple[str, int, str, int]]:
        """The file, line, name and calls of each function."""
        return [(*key, calls) for key, calls in sorted(self.calls.items())]

    def lcov(self) -> str:
        """The calls in lcov's format of traces (geninfo(1), FILES).

        lcov refuses a file without lines: those are the lines where the functions begin.
        """
        files: dict[str, list[tuple[int, str, int]]] = {}
        for file, line, name, calls in self.rows():
            files.setdefault(file, []).append((line, name, calls))
        records = []
        for file, functions in files.items():
            lines: Counter[int] = Counter()
            for line, _, calls in functions:
                lines[line] += calls
            records += ["TN:", f"SF:{file}"]
            records += [f"FN:{line},{name}" for line, name, _ in functions]
            records += [f"FNDA:{calls},{name}" for _, name, calls in functions]
            records += [f"FNF:{len(functions)}", f"FNH:{sum(1 for each in functions if each[2])}"]
            records += [f"DA:{line},{calls}" for line, calls in lines.items()]
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
        if path is None:
            return None
        with contextlib.suppress(MachineError):
            if path not in self._sources:
                self._sources[path] = None  # unless it has debug information
                self._sources[path] = SourceLines(Dwarf(path))
            lines = self._sources[path]
            if lines is not None:
                function = lines.function(name)
                return function.file, function.line
        return None
