# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that say what a kernel would make of a probe, without setting one."""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import MachineError, Symbol
from armprobe.probes import ERAS, POINT_RELEASES, Decoded, ProbeError, Verdict, decode, find_era, is_pattern
from armprobe.session.authority import Host, require

from .errors import CommandError
from .instructions import Code, disassembled, read_code
from .locations import complete_symbol, find_symbol, matching_functions, number_of_address
from .registry import Arg, Arguments, Command, Option, Out

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Probes"
_WORDS: Final = 1 << 32
_LONGEST: Final = 4096  # instructions of a function
_SHOWN: Final = 50
_EXAMPLES: Final = 3
_HOW: Final = {Verdict.GOOD: "slot", Verdict.GOOD_NO_SLOT: "simulated", Verdict.REJECTED: "REFUSED"}


def _eras(session: Session, arguments: Arguments) -> list[str]:
    chosen = arguments.era or (session.kprobes.era.name,)
    return list(ERAS) if "all" in chosen else list(dict.fromkeys(chosen))


# decode


def _decode(session: Session, arguments: Arguments, out: Out) -> None:
    what, eras = arguments.what, _eras(session, arguments)
    if isinstance(what, int) and what < _WORDS:
        _decode_word(what, eras, out)
    elif isinstance(what, int):
        found = session.machine.symbols.at(what)
        if found is None:
            raise CommandError(f"{what:#x} has more than 32 bits, so is no instruction, and is in no function either")
        for era in eras:
            _decode_function(session, f"{what:#x}", found[0], found[1] or None, era, out)
    elif isinstance(what, str):
        name, plus, offset = what.partition("+")
        symbol = find_symbol(session, name)
        for era in eras:
            _decode_function(session, what, symbol, _number(offset) if plus else None, era, out)
    elif os.path.exists(what):  # Path.exists raises for names that no file can have
        code = read_code(what)
        for era in eras:
            _decode_file(str(what), code, era, out)
    else:
        reason = _refusal(session, str(what))
        if re.fullmatch("[0-9a-fA-F]{8}", str(what)):
            reason += f" (the instruction is 0x{what})"
        nothing = f"nothing is known of {str(what)!r}"
        raise CommandError(f"{reason}; nor is there a file of that name" if reason else nothing)


def _subject(session: Session, word: str) -> int | str | Path:
    """What is to be decoded: an instruction or an address, a place in the guest by name, or else a file."""
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


def _how(decoded: Decoded) -> str:
    match decoded.verdict:
        case Verdict.GOOD:
            return "executed in a slot"
        case Verdict.GOOD_NO_SLOT:
            return f"simulated ({decoded.simulator})"
        case Verdict.REJECTED:
            return decoded.reason


def _decode_word(word: int, eras: Iterable[str], out: Out) -> None:
    out(f"{word:#010x}  {disassembled(word)}\n")
    for era in eras:
        decoded = decode(word, era)
        out(f"{era:<6} {decoded.verdict.name:<12}  {_how(decoded)}\n")
        if decoded.warning:
            out(f"{'':<20} warning: {decoded.warning}\n")


def _decode_function(session: Session, what: str, symbol: Symbol, offset: int | None, era: str, out: Out) -> None:
    """A function's instructions, or only the one at an offset; `what` is how its user called it."""
    if symbol.kind == "object":
        raise CommandError(f"{symbol.name} is data: give a function")
    first, count = (0, min(symbol.size // 4, _LONGEST)) if offset is None else (offset // 4 * 4, 1)
    if not count:
        raise CommandError(f"{symbol.name} has no size: give SYMBOL+OFFSET, one instruction at a time")
    words = _words(session.kprobes.read_text(symbol.address + first, 4 * count))
    counts: Counter[Verdict] = Counter()
    out(f"{what} in {era}:\n")
    for index, word in enumerate(words):
        at = first + 4 * index
        verdict, why = _row(session, symbol.address + at, word, era)
        counts[verdict] += 1
        text = disassembled(word, symbol.address + at)
        out(f"  +{at:<#6x} {word:08x}  {text:<40}  {_HOW[verdict]:<9}  {why}".rstrip() + "\n")
    if offset is None:
        if 4 * count < symbol.size // 4 * 4:
            out(f"  ... and {symbol.size // 4 - count:,} more\n")
        out(f"{_counted(counts)}\n")


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def _row(session: Session, address: int, word: int, era: str) -> tuple[Verdict, str]:
    decoded = decode(word, era)
    if decoded.verdict is Verdict.REJECTED:
        return decoded.verdict, decoded.reason
    asked = _asked(session, address, era)
    if isinstance(asked, ProbeError):
        return Verdict.REJECTED, asked.rule
    return asked.verdict, asked.simulator or (f"warning: {asked.warning}" if asked.warning else "")


def _counted(counts: Counter[Verdict]) -> str:
    return f"{counts.total():,} instructions: " + ", ".join(
        f"{counts[verdict]:,} {text}"
        for verdict, text in (
            (Verdict.GOOD, "executed in a slot"),
            (Verdict.GOOD_NO_SLOT, "simulated"),
            (Verdict.REJECTED, "refused"),
        )
    )


def _decode_file(name: str, code: Iterable[Code], era: str, out: Out) -> None:
    counts: Counter[Verdict] = Counter()
    simulators: Counter[str] = Counter()
    noted: dict[str, list[str]] = {}  # the first few places by what is to be said of them
    notes: Counter[str] = Counter()
    for part in code:
        for address, word in part.instructions():
            decoded = decode(word, era)
            counts[decoded.verdict] += 1
            simulators[decoded.simulator] += 1
            if decoded.reason or decoded.warning:
                text = f"refused: {decoded.reason}" if decoded.reason else f"accepted, but {decoded.warning}"
                notes[text] += 1
                if notes[text] <= _SHOWN:
                    place = f"  {part.describe(address):<36}  {word:08x}  {disassembled(word, address)}\n"
                    noted.setdefault(text, []).append(place)
    out(f"{name} in {era}: {_counted(counts)}\n")
    for simulator, count in simulators.most_common():
        if simulator:
            out(f"  {simulator:<24} {count:>9,}\n")
    for text, places in noted.items():
        out(f"{notes[text]:,} {text}\n" + "".join(places))
        if notes[text] > _SHOWN:
            out(f"  ... and {notes[text] - _SHOWN:,} more\n")


# check


def _check(session: Session, arguments: Arguments, out: Out) -> None:
    eras = _eras(session, arguments)
    places = [place for word in arguments.places for place in _matching(session, word)]
    refused = 0
    for era in eras:
        answers = [(place, _asked(session, place, era)) for place in dict.fromkeys(places)]
        bad = [(place, answer) for place, answer in answers if isinstance(answer, ProbeError)]
        refused += len(bad)
        if len(answers) > _SHOWN:
            _summarize(era, bad, out)
        else:
            _list(era, answers, out)
        if len(answers) > 1:
            out(f"{era:<6} {len(answers) - len(bad):,} of {len(answers):,} would be accepted\n")
    if refused:
        raise CommandError(f"{refused:,} would be refused" if len(places) * len(eras) > 1 else "it would be refused")


def _list(era: str, answers: Iterable[tuple[str | int, Decoded | ProbeError]], out: Out) -> None:
    for place, answer in answers:
        what = answer if isinstance(answer, ProbeError) else f"accepted: {_how(answer)}"
        out(f"{era:<6} {_named(place):<32} {what}\n")
        if isinstance(answer, Decoded) and answer.warning:
            out(f"{'':<39} warning: {answer.warning}\n")


def _summarize(era: str, refused: Iterable[tuple[str | int, ProbeError]], out: Out) -> None:
    """The refusals by what they are for, the most frequent first, with a few places each."""
    by_rule: dict[str, list[str]] = {}
    for place, error in refused:
        by_rule.setdefault(f"{error.errno_name}, {error.rule}", []).append(_named(place))
    for rule, places in sorted(by_rule.items(), key=lambda item: -len(item[1])):
        few = ", ".join(places[:_EXAMPLES]) + (", ..." if len(places) > _EXAMPLES else "")
        out(f"{era:<6} {len(places):>7,} refused: {rule}: {few}\n")


def _named(place: str | int) -> str:
    return place if isinstance(place, str) else f"{place:#x}"


def _asked(session: Session, place: str | int, era: str) -> Decoded | ProbeError:
    try:
        return session.kprobes.check(place, era)
    except ProbeError as error:
        return error


def _matching(session: Session, word: str) -> list[str | int]:
    """The places that `word` means: an address, a place by its symbol, or the functions that match a pattern."""
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
    f"kernels whose rules to apply: {', '.join(ERAS)}, all of these, or a version (default: the session's)",
    type=_era,
    many=True,
    complete=lambda session, word: (*ERAS, *POINT_RELEASES, "all"),
)

COMMANDS = (
    Command(
        "decode",
        "Show how a kernel would execute a probed instruction, or why it would refuse to.\n"
        "Of a function every instruction is shown, with what the kernel says of its place too; of a file (an ELF\n"
        "object, or raw instructions) the numbers, and what is refused.",
        (
            Arg(
                "what",
                "an instruction as a number, SYMBOL, SYMBOL+0x10, an address or a file",
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
        "Say whether probes would be accepted, and why not; it fails if one would not be.\n"
        "The guest's code is judged by the rules of any kernel, whichever the guest is. Patterns are of the shell's\n"
        "kind (`vfs_*`).",
        (
            Arg("places", "SYMBOL, SYMBOL+0x10, an address, or a pattern", many=True, complete=complete_symbol),
            _ERA,
        ),
        _check,
        group=GROUP,
        gdb="kprobe-check",
    ),
)
