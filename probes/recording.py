# SPDX-License-Identifier: GPL-2.0-or-later
"""What is recorded of the hits of a probe: all registers at all stages, or what a `Record` chooses."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Final

from armprobe.expressions import ExpressionError, Memory, Scope, Value
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import ProbeError
from .record import REGISTERS, Stage

ALL_REGISTERS: Final = (1 << len(REGISTERS)) - 1
MOST_MEMORY: Final = 1 << 28
"""The most bytes of the guest's memory that can be kept with hits."""
_MOST_BYTES: Final = 4096  # of a field
_MOST_FIELDS: Final = 16


@lazy_dataclass
class Record:
    """What to record of the hits of a probe. The time and the task are always recorded, and PSTATE.

    `stages` and `registers` ("x0" to "x30", "sp", "pc") are those that are wanted, None for all. `memory` and `strings`
    give names to memory, which is read at the stage `at` of each hit: `memory` has the expressions of the address and
    of the number of bytes, or both compiled, and `strings` that of the address. Of each field `most` bytes are recorded
    at most, unless it is compiled. `at` is PRE for a kprobe, and ENTRY or RETURN for a kretprobe, ENTRY if it is None.
    """

    stages: Iterable[Stage] | None = None
    registers: Iterable[str] | None = None
    memory: Mapping[str, tuple[str, str | int] | Memory] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)
    most: int = 256
    at: Stage | None = None


class Recording:
    """A `Record` for a kind of probe, with its expressions compiled.

    `mask` has a bit for each of `REGISTERS`. `fields` are the memory that is read at the stage `at`, by name, and
    `strings` the names of those that are strings. Raises ExpressionError and ProbeError.
    """

    def __init__(self, record: Record, stages: tuple[Stage, ...], scope: Callable[[Stage], Scope]) -> None:
        self.stages = frozenset(stages if record.stages is None else record.stages)
        if not self.stages <= {*stages}:
            possible = " and ".join(f"Stage.{stage.name}" for stage in stages)
            raise ProbeError(errno.EINVAL, f"stages has one that the probe does not have: give some of {possible}")
        self.mask = ALL_REGISTERS
        if record.registers is not None:
            self.mask = 0
            for name in record.registers:
                if name not in REGISTERS:
                    raise ProbeError(errno.EINVAL, f"{name!r} cannot be recorded: choose from x0 to x30, sp and pc")
                self.mask |= 1 << REGISTERS.index(name)
        self.at = stages[0] if record.at is None else record.at
        if self.at is Stage.POST or self.at not in stages:
            raise ProbeError(errno.EINVAL, f"memory cannot be read at {self.at}: give a stage at which a handler runs")
        if not 1 <= record.most <= _MOST_BYTES:
            reason = f"{record.most} bytes of a field cannot be recorded: give 1 to {_MOST_BYTES}"
            raise ProbeError(errno.EINVAL, reason)
        self.strings = frozenset(record.strings)
        if twice := self.strings & record.memory.keys():
            raise ProbeError(errno.EINVAL, f"two fields have the name {min(twice)!r}")
        self.fields: dict[str, Memory] = {}
        if record.memory or record.strings:
            names = scope(self.at)
            for name, given in record.memory.items():
                if isinstance(given, Memory):
                    self.fields[name] = given
                    continue
                address, size = given
                self.fields[name] = Memory(_compiled(address, names), _compiled(str(size), names), record.most)
            for name, address in record.strings.items():
                self.fields[name] = Memory(_compiled(address, names), None, record.most)
        written = (
            len(record.memory) + len(record.strings) - sum(isinstance(of, Memory) for of in record.memory.values())
        )
        if written > _MOST_FIELDS:
            raise ProbeError(errno.EINVAL, f"{written} fields are more than the {_MOST_FIELDS} there can be")
        if self.fields and self.at not in self.stages:
            raise ProbeError(errno.EINVAL, f"memory is read at {self.at}, which is not one of the stages recorded")

    @property
    def size(self) -> int:
        """The most bytes of memory that are recorded of a hit."""
        return sum(field.most for field in self.fields.values())

    @property
    def missing(self) -> int:
        """A bit for each register that is not recorded."""
        return ALL_REGISTERS & ~self.mask

    def chosen(self, general: bytes) -> bytes:
        """x0 to x30, sp and pc, with 0 for those that are not recorded."""
        if self.mask == ALL_REGISTERS:
            return general
        kept = bytearray(len(general))
        for number in range(len(REGISTERS)):
            if self.mask >> number & 1:
                kept[number * 8 : number * 8 + 8] = general[number * 8 : number * 8 + 8]
        return bytes(kept)

    def data(self, read: Mapping[str, bytes | None]) -> dict[str, bytes | str | None]:
        """What the fields of a hit are: text for strings."""
        return {
            name: found.partition(b"\0")[0].decode("utf-8", "replace")
            if name in self.strings and found is not None
            else found
            for name, found in read.items()
        }


def prepared(
    record: bool | Record, stages: tuple[Stage, ...], scope: Callable[[Stage], Scope], kept: int
) -> Recording | None:
    """What is recorded of a probe, of whose hits `kept` stages are kept; None for all of them, or nothing.

    Raises ProbeError.
    """
    if not isinstance(record, Record):
        return None
    recording = Recording(record, stages, scope)
    if recording.size * kept > MOST_MEMORY:
        reason = f"{kept} stages of hits with {recording.size} bytes of memory each are more than can be kept"
        raise ProbeError(errno.ENOMEM, f"{reason}: record less of each, or set kept to a smaller number")
    return recording


def _compiled(text: str, scope: Scope) -> Value:
    try:
        return Value.compile(text, scope)
    except ExpressionError as error:
        raise ProbeError(errno.EINVAL, str(error)) from error
