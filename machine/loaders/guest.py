# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a loader: everything that the machine needs to start a guest."""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from armprobe.machine import board
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.symbols import Symbols


@lazy_dataclass
class Segment:
    """`size` bytes at physical `address`: `data`, then zeros. `virtual` is their link address, if known."""

    what: str
    address: int
    data: bytes = field(repr=False)
    size: int
    virtual: int | None = None

    @property
    def end(self) -> int:
        """The physical address after the last byte."""
        return self.address + self.size


@lazy_dataclass
class LoadedGuest:
    """A guest in memory of `memory` bytes, about to be entered at physical `entry` with `x0` in x0.

    The segments lie in RAM and do not overlap. The first is the guest itself. A device tree, if present, is both a
    segment at `x0` and `device_tree`.
    """

    kind: Literal["linux", "elf"]
    memory: int
    segments: tuple[Segment, ...]
    entry: int
    symbols: Symbols = field(repr=False)
    sources: tuple[Path, ...]
    x0: int = 0
    device_tree: bytes = field(default=b"", repr=False)
    dwarf: Path | None = None
    notes: tuple[str, ...] = ()
    """Messages for the user, one sentence each, such as why there are no symbols."""

    def __post_init__(self) -> None:
        """Raise MachineError if a segment is not in RAM or two overlap."""
        end = board.RAM_BASE + self.memory
        for segment in self.segments:
            if not board.RAM_BASE <= segment.address <= segment.end <= end:
                more = segment.address >= board.RAM_BASE and segment.end <= board.RAM_END_MAX
                advice = "give it more memory" if more else "link it to be loaded there"
                raise MachineError(
                    f"{segment.what} of {self.sources[0]} needs {_span(segment)}, but RAM is "
                    f"{board.RAM_BASE:#x} to {end:#x}: {advice}"
                )
        for one, other in pairwise(sorted(self.segments, key=lambda segment: segment.address)):
            if other.address < one.end:
                raise MachineError(
                    f"{one.what} ({_span(one)}) and {other.what} ({_span(other)}) of {self.sources[0]} overlap in "
                    "memory, so it cannot be loaded"
                )

    @property
    def is_linux(self) -> bool:
        """Whether the guest is a Linux kernel, rather than bare-metal code."""
        return self.kind == "linux"

    @property
    def link_base(self) -> int | None:
        """The link address (virtual) of the first byte of the first segment."""
        return self.segments[0].virtual


def _span(segment: Segment) -> str:
    return f"{segment.address:#x} to {segment.end:#x}"
