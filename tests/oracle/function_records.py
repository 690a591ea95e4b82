# SPDX-License-Identifier: GPL-2.0-or-later
"""What the functions of a stock kernel answered when they were called: see `record_functions` and records/README.md.

The tests that call a kernel's functions take the answers from here where the kernel cannot be had any more.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from armprobe.machine import Symbols
from armprobe.probes import Era, find_era

FOLDER: Final = Path(__file__).parent / "records/functions"
SHARE: Final = 8
"""Of how many words to decode one is on record."""
SEQUENCES: Final = 5000
STATES: Final = 200
"""For each simulator."""
_SUFFIX: Final = ".json.xz"

Answer = tuple[int, str]
"""A verdict as the kernel's number, and the simulator, "" for none."""


def digest(words: Iterable[int]) -> str:
    """That of words which are made anew by a generator, not kept. It shows that they are the same."""
    return hashlib.sha256(array("I", words).tobytes()).hexdigest()[:16]


@dataclass
class FunctionRecord:
    """The answers of Linux `release`, that is Debian's `package`."""

    release: str
    package: str
    rows: list[tuple[int, int]] = field(default_factory=list)
    """Mask and value of the decoder rows that words.py made words of."""
    decoded: dict[str, dict[str, str]] = field(default_factory=dict)
    """By group of words: the digest of the words, and the answers, a letter each."""
    answers: list[Answer] = field(default_factory=list)
    """What the letters stand for."""
    text: dict[str, Any] = field(default_factory=dict)
    """Words of the kernel's own text, and the answers."""
    sequences: dict[str, str] = field(default_factory=dict)
    """The digest of generated sequences, and the verdicts on their last instructions, a digit each."""
    near_exclusives: list[tuple[int, list[int], int]] = field(default_factory=list)
    """The offset of an instruction into its function, it with those before it, and the verdict."""
    simulated: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By simulator: words, addresses, where generated memory is, and which doublewords of pt_regs became what."""
    symbols: list[tuple[str, int, str]] = field(default_factory=list)
    """Name, address, and letter as nm(1) has it."""
    blacklisted: list[tuple[int, int]] = field(default_factory=list)
    """What arch_populate_kprobe_blacklist() adds."""
    code: dict[str, list[int]] = field(default_factory=dict)
    """The words of functions, by name."""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the function that searches it: where a table is, its bytes, addresses looked up, and which were found."""

    def save(self) -> Path:
        """Write the file of this release."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.release}{_SUFFIX}"
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        return path

    @classmethod
    def load(cls, release: str) -> FunctionRecord:
        """The record of a release that there is a file of."""
        return cls(**json.loads(lzma.decompress((FOLDER / f"{release}{_SUFFIX}").read_bytes())))


class KernelOnRecord:
    """A kernel that is not there: the answers of the newest of its series that is on record."""

    def __init__(self, record: FunctionRecord) -> None:
        self.record = record
        self.era: Era = find_era(record.release)
        self.symbols = Symbols.from_kallsyms(record.symbols)

    def letters(self, answers: str) -> list[Answer]:
        """Answers that are written as letters."""
        named = [(verdict, simulator) for verdict, simulator in self.record.answers]
        return [named[ord(letter) - ord("a")] for letter in answers]


def newest_on_record(series: str) -> FunctionRecord | None:
    """The record of the newest release of a series, such as "6.1"; None if there is none."""
    releases = [path.name.removesuffix(_SUFFIX) for path in FOLDER.glob(f"{series}.*{_SUFFIX}")]
    newest = max(releases, key=lambda release: tuple(map(int, release.split("."))), default=None)
    return FunctionRecord.load(newest) if newest else None
