# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts of kernels on probes."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Hex


@lazy_dataclass
class Verdict:
    """The verdict of an era's kernel on a probe at an instruction.

    verdict: GOOD (executed in a slot), GOOD_NO_SLOT (simulated) or REJECTED.
    simulator: the kernel's function that simulates the instruction; empty without one.
    reason: the reason for a refusal; empty without one.
    warning: a fault of the kernel with this instruction, although it accepts the probe; empty without one.
    """

    verdict: str
    simulator: str
    reason: str
    warning: str


@lazy_dataclass
class EraVerdict:
    """An era and its verdict."""

    era: str
    verdict: Verdict


@lazy_dataclass
class DecodedWord:
    """An instruction and the verdicts of eras on it. text: its disassembly."""

    word: Hex
    text: str
    eras: tuple[EraVerdict, ...]


@lazy_dataclass
class JudgedInstruction:
    """An instruction of a function, its disassembly, and the verdict. offset: bytes from the function's start."""

    offset: int
    address: Hex
    word: Hex
    text: str
    verdict: Verdict


@lazy_dataclass
class DecodedFunction:
    """The verdicts of an era on a function's instructions.

    what: the function, or the place in it, as the user named it. whole: whether the user named a whole function.
    left_out: the number of instructions of a long function that are left out.
    """

    what: str
    era: str
    whole: bool
    instructions: tuple[JudgedInstruction, ...]
    left_out: int


@lazy_dataclass
class VerdictCounts:
    """Instructions by verdict."""

    slot: int
    simulated: int
    refused: int


@lazy_dataclass
class SimulatorCount:
    """The number of instructions that a function of the kernel simulates."""

    simulator: str
    count: int


@lazy_dataclass
class InstructionPlace:
    """An instruction in a file. place: its function and the offset in it. text: its disassembly."""

    place: str
    address: Hex
    word: Hex
    text: str


@lazy_dataclass
class FlaggedInstructions:
    """Instructions of a file that are refused, or accepted with a warning, for one reason.

    refused: whether they are refused. reason: the reason, or the warning. count: their number. places: the first ones.
    """

    refused: bool
    reason: str
    count: int
    places: tuple[InstructionPlace, ...]


@lazy_dataclass
class DecodedFile:
    """The verdicts of an era on the instructions of a file. simulators: the most frequent first."""

    file: str
    era: str
    counts: VerdictCounts
    simulators: tuple[SimulatorCount, ...]
    remarkable: tuple[FlaggedInstructions, ...]


class Decoded(tuple[DecodedWord | DecodedFunction | DecodedFile, ...]):
    """An instruction, or a function or file once for each era."""


@lazy_dataclass
class CheckedPlace:
    """Whether a probe at a place would be accepted.

    place: the place as the user named it, or an address. verdict: the verdict on its instruction; None if refused.
    error: the name of the kernel's errno. reason: the reason for the refusal, a sentence. rule: the same without the
    place. All three are empty if the probe would be accepted.
    """

    place: str
    accepted: bool
    verdict: Verdict | None
    error: str
    reason: str
    rule: str


@lazy_dataclass
class EraCheck:
    """The verdicts of an era on places. refused: the number of refusals."""

    era: str
    places: tuple[CheckedPlace, ...]
    refused: int


@lazy_dataclass
class EraAnswer:
    """What commands print by the rules of an era. text: all of it, the error that ended them included."""

    era: str
    text: str


class EraAnswers(tuple[EraAnswer, ...]):
    """What the same commands print by the rules of several eras."""


class Checked(tuple[EraCheck, ...]):
    """The verdicts of each era on the places."""
