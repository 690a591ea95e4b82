# SPDX-License-Identifier: GPL-2.0-or-later
"""What one kernel answered the tests of this folder, kept in a file: see `make record` and ../records/README.md.

For each test it has the kernel's answers in the order they were asked for, and of the guest what the engine looks at
when it is asked the same: symbols, text, tables. So a comparison with it needs no kernel.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.oracle.live.journal import Event

FOLDER: Final = Path(__file__).parent.parent / "records"
FORMAT: Final = 2
_SUFFIX: Final = ".json.xz"

Row = tuple[str, int, str]
"""A symbol's name, address, and letter as nm(1) has it."""


@dataclass
class Memory:
    """What the engine looks at in the guest."""

    symbols: list[Row] = field(default_factory=list)
    """The kernel's that are asked for, and the one that follows each, as none states its size."""
    module: list[Row] = field(default_factory=list)
    module_areas: list[tuple[int, int]] = field(default_factory=list)
    lines: dict[str, str] = field(default_factory=dict)
    """64 bytes of memory by address, both in hexadecimal."""
    executable: list[int] = field(default_factory=list)
    """The pages of these that are."""
    may_fault: list[int] = field(default_factory=list)
    """The instructions among these for which search_exception_tables() has an entry."""
    jump_labels: list[int] = field(default_factory=list)
    """And those that jump_label_text_reserved() says are the kernel's to patch."""
    blacklist: list[tuple[int, int]] = field(default_factory=list)
    """Where its areas without probes start and end, in its order."""
    mdscr: int = 0
    stack: dict[str, int] = field(default_factory=dict)
    """The stack pointer that oracle_call() is entered with, by the module's command."""
    user: int = 0
    """The address that vm_mmap() gives."""


@dataclass
class Record:
    """The answers of Linux `release`, that is Debian's `package`."""

    release: str
    package: str
    memory: Memory = field(default_factory=Memory)
    tests: dict[str, list[Any]] = field(default_factory=dict)

    def save(self) -> Path:
        """Write the file of this release."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.release}{_SUFFIX}"
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        return path

    def sample(self) -> set[str]:
        """One case of every fourth test that is on record."""
        cases = {name.partition("[")[0]: name for name in sorted(self.tests, reverse=True)}
        return {cases[test] for test in sorted(cases)[::4]}

    @classmethod
    def load(cls, release: str) -> Record:
        """The record of a release that there is a file of."""
        content = json.loads(lzma.decompress((FOLDER / f"{release}{_SUFFIX}").read_bytes()))
        assert content.pop("format") == FORMAT, "the record is of another format: make it again (make record)"
        memory = Memory(**content.pop("memory"))
        memory.module_areas = [(start, end) for start, end in memory.module_areas]
        return cls(memory=memory, **content)


def recorded() -> list[str]:
    """The releases that there are records of, the oldest first."""
    names = (path.name.removesuffix(_SUFFIX) for path in FOLDER.glob(f"*{_SUFFIX}"))
    return sorted(names, key=lambda name: tuple(map(int, name.split("."))))


class Tape:
    """The answers of a record, test by test: put there one after another, or read again."""

    def __init__(self, tests: dict[str, list[Any]]) -> None:
        self._tests = tests
        self._test, self._at = "", 0
        self._journal: list[Event] = []

    def begin(self, test: str, anew: bool) -> None:
        """From now on it is about `test`, whose answers are forgotten if they are given `anew`."""
        self._test, self._at, self._journal = test, 0, []
        if anew:
            self._tests[test] = []

    def put(self, what: str, answer: Any) -> None:
        """Note an answer, which JSON can hold."""
        self._tests[self._test].append([what, answer])

    def put_journal(self, events: list[Event]) -> list[Event]:
        """Note a journal, by what is new since the test read it last; that part of it."""
        kept = 0
        while kept < min(len(events), len(self._journal)) and events[kept] == self._journal[kept]:
            kept += 1
        self.put("journal", [kept, events[kept:]])
        self._journal = events
        return events[kept:]

    def get_journal(self) -> list[Event]:
        """The next journal."""
        kept, events = self.get("journal")
        self._journal = [*self._journal[:kept], *events]
        return self._journal

    def get(self, what: str) -> Any:
        """The next answer, which has to be one to that."""
        answers = self._tests.get(self._test, [])
        asked, answer = answers[self._at] if self._at < len(answers) else ("nothing more", None)
        assert asked == what, f"{self._test} asks for {what}, and the record has {asked}: make it again (make record)"
        self._at += 1
        return answer


def test_name(node: str, reference: str) -> str:
    """The name of a test without that of the kernel it is about: test_x[v6.1-pre] becomes test_x[pre]."""
    name, bracket, parameters = node.partition("[")
    others: Iterable[str] = (each for each in parameters.removesuffix("]").split("-") if each != reference)
    return f"{name}[{'-'.join(others)}]" if bracket else name
