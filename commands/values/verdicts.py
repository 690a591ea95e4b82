# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel would make of probes."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Hex


@dataclass(frozen=True)
class Verdict:
    """What a kernel of an era makes of a probe on an instruction.

    verdict: GOOD (executed in a slot), GOOD_NO_SLOT (simulated) or REJECTED.
    simulator: the kernel's function that simulates it; empty without one.
    reason: why it is refused; empty if it is not.
    warning: what goes wrong with it although it is accepted; empty if nothing.
    """

    verdict: str
    simulator: str
    reason: str
    warning: str


@dataclass(frozen=True)
class EraVerdict:
    """A verdict, and the era of which it is."""

    era: str
    verdict: Verdict


@dataclass(frozen=True)
class DecodedWord:
    """The verdicts of eras on an instruction. text: its disassembly."""

    word: Hex
    text: str
    eras: tuple[EraVerdict, ...]


@dataclass(frozen=True)
class JudgedInstruction:
    """An instruction of a function, its disassembly, and the verdict. offset: bytes from the function's start."""

    offset: int
    address: Hex
    word: Hex
    text: str
    verdict: Verdict


@dataclass(frozen=True)
class DecodedFunction:
    """The verdicts of an era on a function's instructions.

    what: the function, or the place in it, as it was given. whole: the function was asked for, not one instruction.
    left_out: how many instructions of a long function are not among these.
    """

    what: str
    era: str
    whole: bool
    instructions: tuple[JudgedInstruction, ...]
    left_out: int


@dataclass(frozen=True)
class VerdictCounts:
    """Instructions by verdict."""

    slot: int
    simulated: int
    refused: int


@dataclass(frozen=True)
class SimulatorCount:
    """How many instructions a function of the kernel simulates."""

    simulator: str
    count: int


@dataclass(frozen=True)
class InstructionPlace:
    """An instruction in a file. place: its function and the offset there. text: its disassembly."""

    place: str
    address: Hex
    word: Hex
    text: str


@dataclass(frozen=True)
class FlaggedInstructions:
    """Instructions of a file that are refused, or accepted with a warning, for one reason.

    refused: they are refused. reason: why, or the warning. count: how many. places: the first of them.
    """

    refused: bool
    reason: str
    count: int
    places: tuple[InstructionPlace, ...]


@dataclass(frozen=True)
class DecodedFile:
    """The verdicts of an era on the instructions of a file. simulators: the most frequent first."""

    file: str
    era: str
    counts: VerdictCounts
    simulators: tuple[SimulatorCount, ...]
    remarkable: tuple[FlaggedInstructions, ...]


class Decoded(tuple[DecodedWord | DecodedFunction | DecodedFile, ...]):
    """An instruction; or a function or file, once an era."""


@dataclass(frozen=True)
class CheckedPlace:
    """Whether a probe at a place would be accepted.

    place: as it was given, or an address. accepted: it would be. verdict: on its instruction; None if it is refused.
    error: the name of the kernel's errno; empty if the probe is accepted.
    reason: why it is refused, a sentence; rule: the same without the place. Both are empty if it is accepted.
    """

    place: str
    accepted: bool
    verdict: Verdict | None
    error: str
    reason: str
    rule: str


@dataclass(frozen=True)
class EraCheck:
    """The places as the kernels of an era judge them."""

    era: str
    places: tuple[CheckedPlace, ...]
    refused: int


class Checked(tuple[EraCheck, ...]):
    """The places as the kernels of each era judge them."""
