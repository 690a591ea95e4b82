# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that predict how a kernel would treat a probe, without setting one."""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import MachineError, Symbol
from armprobe.probes import ERAS, POINT_RELEASES, Decoded, ProbeError, Verdict, decode, find_era, is_pattern
from armprobe.session.authority import Host, require

from . import values
from .declaration import Arg, Arguments, Command, Option, Parts
from .disassembly import Code, disassembled, read_code
from .errors import CommandError
from .locations import complete_symbol, find_symbol, matching_functions, number_of_address, probed

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Probes"
_WORDS: Final = 1 << 32
_LONGEST: Final = 4096  # instructions of a function
_SHOWN: Final = 50  # places of a file that are told for each reason
_REMEMBERED: Final = 1 << 14  # words whose verdict is kept: most of a program's instructions are there more than once


def _eras(session: Session, arguments: Arguments) -> list[str]:
    chosen = arguments.era or (session.kprobes.era.name,)
    return list(ERAS) if "all" in chosen else list(dict.fromkeys(chosen))


# decode


def _decode(session: Session, arguments: Arguments) -> Parts[values.Decoded]:
    """Each era's answer as it comes: a large file takes a while."""
    answers: list[values.DecodedWord | values.DecodedFunction | values.DecodedFile] = []
    for answer in _decoded(session, arguments.what, _eras(session, arguments)):
        answers.append(answer)
        yield answer
    return values.Decoded(answers)


def _decoded(
    session: Session, what: int | str | Path, eras: list[str]
) -> Iterator[values.DecodedWord | values.DecodedFunction | values.DecodedFile]:
    if isinstance(what, int) and what < _WORDS:
        yield values.DecodedWord(
            what, disassembled(what), tuple(values.EraVerdict(era, _verdict(decode(what, era))) for era in eras)
        )
    elif isinstance(what, int):
        found = session.machine.symbols.at(what)
        if found is None:
            raise CommandError(f"{what:#x} has more than 32 bits, so it is no instruction, and no function covers it")
        for era in eras:
            yield _decode_function(session, f"{what:#x}", found[0], found[1] or None, era)
    elif isinstance(what, str):
        name, plus, offset = what.partition("+")
        symbol = find_symbol(session, name)
        for era in eras:
            yield _decode_function(session, what, symbol, _number(offset) if plus else None, era)
    elif os.path.exists(what):  # Path.exists raises for names that no file can have
        code = read_code(what)
        for era in eras:
            yield decode_file(str(what), code, era)
    else:
        reason = _refusal(session, str(what))
        if re.fullmatch("[0-9a-fA-F]{8}", str(what)):
            reason += f" (the instruction is 0x{what})"
        nothing = f"there is no symbol or file {str(what)!r}"
        raise CommandError(f"{reason}, and there is no file of that name" if reason else nothing)


def _subject(session: Session, word: str) -> int | str | Path:
    """The subject of `decode`: an instruction or an address, a place in the guest by name, or a file."""
    word = probed(session, word)
    if word[:1].isdigit():
        return _number(word)
    if word.partition("+")[0] in session.machine.symbols:
        return word
    try:
        require(Host.READS_FILES, "decode with a file")
    except CommandError as refusal:
        raise CommandError(f"{_refusal(session, word)}; {refusal}") from None
    return Path(word)


def _number(word: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise CommandError(f"{word!r} is not a number: write the instruction in hexadecimal after 0x") from None


def _refusal(session: Session, name: str) -> str:
    try:
        session.machine.symbols[name]
    except MachineError as error:
        return str(error)
    return ""


def _verdict(decoded: Decoded) -> values.Verdict:
    return values.Verdict(decoded.verdict.name, decoded.simulator, decoded.reason, decoded.warning)


def _decode_function(
    session: Session, what: str, symbol: Symbol, offset: int | None, era: str
) -> values.DecodedFunction:
    """A function's instructions, or only the one at an offset; `what` is the place as the user wrote it."""
    if symbol.kind == "object":
        raise CommandError(f"{symbol.name} is data: give a function")
    first, count = (0, min(symbol.size // 4, _LONGEST)) if offset is None else (offset // 4 * 4, 1)
    if not count:
        raise CommandError(f"{symbol.name} has no size: give SYMBOL+OFFSET, one instruction at a time")
    words = _words(session.kprobes.read_text(symbol.address + first, 4 * count))
    judged = []
    for at, word in enumerate(words):
        address = symbol.address + first + 4 * at
        verdict = _verdict_at(session, address, word, era)
        judged.append(values.JudgedInstruction(first + 4 * at, address, word, disassembled(word, address), verdict))
    left_out = symbol.size // 4 - count if offset is None else 0
    return values.DecodedFunction(what, era, offset is None, tuple(judged), left_out)


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def _verdict_at(session: Session, address: int, word: int, era: str) -> values.Verdict:
    """The verdict on the instruction and, if that is accepted, on its place."""
    decoded = decode(word, era)
    if decoded.verdict is Verdict.REJECTED:
        return _verdict(decoded)
    asked = _asked(session, address, era)
    if isinstance(asked, ProbeError):
        return values.Verdict(Verdict.REJECTED.name, "", asked.rule, "")
    return _verdict(asked)


@dataclass
class _Tally:
    """How many instructions had one verdict or note, and the first few of them."""

    count: int = 0
    places: list[values.InstructionPlace] = field(default_factory=list)


def decode_file(name: str, code: Iterable[Code], era: str) -> values.DecodedFile:
    """The verdicts of `era` on the instructions of a file."""
    found = find_era(era)
    kinds: dict[tuple[Verdict, str], _Tally] = {}  # by verdict and simulator
    notes: dict[tuple[bool, str], _Tally] = {}

    @lru_cache(_REMEMBERED)
    def judge(word: int) -> tuple[_Tally, _Tally | None]:
        decoded = decode(word, found)
        kind = kinds.setdefault((decoded.verdict, decoded.simulator), _Tally())
        note = (bool(decoded.reason), decoded.reason or decoded.warning)
        return kind, notes.setdefault(note, _Tally()) if note[1] else None

    for part in code:
        for address, word in part.instructions():
            kind, note = judge(word)
            kind.count += 1
            if note:
                note.count += 1
                if note.count <= _SHOWN:
                    place = values.InstructionPlace(part.describe(address), address, word, disassembled(word, address))
                    note.places.append(place)
    counts, simulators = Counter[Verdict](), Counter[str]()
    for (verdict, simulator), kind in kinds.items():
        counts[verdict] += kind.count
        simulators[simulator] += kind.count
    return values.DecodedFile(
        file=name,
        era=era,
        counts=values.VerdictCounts(counts[Verdict.GOOD], counts[Verdict.GOOD_NO_SLOT], counts[Verdict.REJECTED]),
        simulators=tuple(values.SimulatorCount(*each) for each in simulators.most_common() if each[0]),
        remarkable=tuple(
            values.FlaggedInstructions(*note, tally.count, tuple(tally.places)) for note, tally in notes.items()
        ),
    )


# check


def _check(session: Session, arguments: Arguments) -> Parts[values.Checked]:
    eras = _eras(session, arguments)
    places = [place for word in arguments.places for place in _matching(session, word)]
    answers = []
    for era in eras:
        checked = tuple(_checked(session, place, era) for place in dict.fromkeys(places))
        answers.append(values.EraCheck(era, checked, sum(not each.accepted for each in checked)))
        yield answers[-1]
    answer, refused = values.Checked(answers), sum(each.refused for each in answers)
    if refused:
        one = len(places) * len(eras) == 1
        raise CommandError("it would be refused" if one else f"{refused:,} would be refused", answer)
    return answer


def _checked(session: Session, place: str | int, era: str) -> values.CheckedPlace:
    named, asked = place if isinstance(place, str) else f"{place:#x}", _asked(session, place, era)
    if isinstance(asked, ProbeError):
        return values.CheckedPlace(named, False, None, asked.errno_name, asked.reason, asked.rule)
    return values.CheckedPlace(named, True, _verdict(asked), "", "", "")


def _asked(session: Session, place: str | int, era: str) -> Decoded | ProbeError:
    try:
        return session.kprobes.check(place, era)
    except ProbeError as error:
        return error


def _matching(session: Session, word: str) -> list[str | int]:
    """The places that `word` names: an address, a symbol with an offset, or the functions that match a pattern."""
    if word[:1].isdigit():
        return [number_of_address(word)]
    if is_pattern(word):
        return matching_functions(session, word)
    if (name := word.partition("+")[0]) in session.machine.symbols:
        find_symbol(session, name)
    return [word]


def _era(session: Session, word: str) -> str:
    return word if word == "all" else find_era(word).name


_ERA: Final = Option(
    "era",
    f"kernels whose rules to apply: {', '.join(ERAS)}, a version, or all of these eras (default: the session's era)",
    type=_era,
    many=True,
    complete=lambda session, word: (*ERAS, *POINT_RELEASES, "all"),
)

COMMANDS = (
    Command(
        "decode",
        "Show how a kernel would execute a probed instruction, or why it would refuse the probe.\n"
        "For a function it shows each instruction, with the verdict on the instruction and on its place. For a file\n"
        "(an ELF object, or raw instructions) it shows the counts, and the instructions that are refused.",
        (
            Arg(
                "what",
                "an instruction as a number, SYMBOL, SYMBOL+0x10, an address, $REGISTER or a file",
                type=_subject,
                host=Host.READS_FILES,
                complete=complete_symbol,
            ),
            _ERA,
        ),
        _decode,
        group=GROUP,
        gdb="kprobe-decode",
    ),
    Command(
        "check",
        "Show whether probes would be accepted, or why they would be refused. It fails if one would be refused.\n"
        "era= applies the rules of other kernels than the guest's. Patterns are those of the shell, such as vfs_*.",
        (
            Arg(
                "places",
                "SYMBOL, SYMBOL+0x10, an address, $REGISTER, or a pattern",
                type=probed,
                many=True,
                complete=complete_symbol,
            ),
            _ERA,
        ),
        _check,
        group=GROUP,
        gdb="kprobe-check",
    ),
)
