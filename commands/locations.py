# SPDX-License-Identifier: GPL-2.0-or-later
"""How addresses and symbols are written in commands: `kfree`, `kfree+0x10`, `0xffff800008000000`, `$sp`, `$x0+8`."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeGuard

from armprobe.machine.core.registers import NAMES
from armprobe.probes import is_pattern
from armprobe.probes.tracepoint import PREFIX
from armprobe.stub import Place

from .declaration import Arg, integer
from .errors import CommandError
from .values import Location

if TYPE_CHECKING:
    from armprobe.kernel import TraceEvents
    from armprobe.machine import Symbol
    from armprobe.session import Session

_PLACE: Final = re.compile(r"(?P<base>(?:[\w-]+:)?\$?[\w.$]+)(?:(?P<sign>[+-])(?P<offset>0[xX][0-9a-fA-F]+|[0-9]+))?")
_SOURCE: Final = re.compile(r"([^\s:$]*[./][^\s:]*):(\d{1,7})")
"""FILE:LINE; unlike a module, a file has a dot or a slash."""
_CANDIDATES: Final = 500
_LETTERS: Final = 32  # of a word that is completed


def place(session: Session, word: str) -> int:
    """The address that `word` names, which may be FILE:LINE.

    Raises CommandError, and MachineError for an unknown symbol, register or line.
    """
    if source := _SOURCE.fullmatch(word):
        from .perf_probe import line_address  # here, as it is built on this file

        return line_address(session.machine, source[1], int(source[2]))
    match = _PLACE.fullmatch(word)
    if match is None:
        raise CommandError(
            f"{word!r} is not an address: write SYMBOL, MODULE:SYMBOL, SYMBOL+0x10, FILE:LINE, a number or $REGISTER"
        )
    base = match["base"]
    if base[0].isdigit() and ":" not in base:
        try:
            value = int(base, 0)
        except ValueError:
            raise CommandError(f"{base!r} is not a number: write it in decimal, or in hexadecimal after 0x") from None
    elif base[0] == "$":
        value = session.machine.registers[base[1:]]
    elif base.lower() in NAMES and base not in session.machine.symbols:
        raise CommandError(f"there is no symbol {base!r}: did you mean the register, ${base}?")
    else:
        value = find_symbol(session, base).address
    if match["offset"]:
        offset = int(match["offset"], 0)
        value += offset if match["sign"] == "+" else -offset
    return value & (1 << 64) - 1


def probed(session: Session, word: str) -> str:
    """The word for a place to probe: that of the user, or the address that $REGISTER is now. Raises as `place` does."""
    is_register = word[:1] == "$" or (word.lower() in NAMES and word not in session.machine.symbols)
    return f"{place(session, word):#x}" if is_register else word


def located(session: Session, word: str) -> Place | None:
    """Where `word` means, and in which symbol; None if in none. Raises as `place` does, and says no more than that."""
    symbols = session.machine.symbols
    name, plus, offset = word.partition("+")
    if name in symbols:
        address = symbols[name].address + (integer(session, offset) if plus else 0)
    else:
        address = place(session, word)
    found = symbols.at(address)
    if found is None:
        return None
    symbol, at = found
    return Place(address, symbol.name, address - at, symbol.size)


def find_symbol(session: Session, name: str) -> Symbol:
    """The symbol called `name`. Of several it is the first, with a remark to the user.

    Raises MachineError for an unknown one.
    """
    symbols = session.machine.symbols
    found = symbols[name]
    if ambiguity := symbols.ambiguity(name):
        session.remark(f"warning: {ambiguity}\n")
    return found


def complete_symbol(session: Session, word: str) -> Iterable[str]:
    """Symbols and modules that begin with `word`; if there are none, symbols that have its letters in this order."""
    symbols = session.machine.symbols
    found = [*symbols.matching(word, _CANDIDATES), *(f"{module}:" for module in symbols.modules)]
    if word and not any(name.startswith(word) for name in found):
        letters = "*".join(glob.escape(letter) for letter in word[:_LETTERS])
        found += [symbol.name for symbol in symbols.search(f"*{letters}*")]
    return found


PLACE: Final = Arg(
    "place",
    "SYMBOL, SYMBOL+0x10, FILE:LINE, an address or $REGISTER (default: $pc)",
    optional=True,
    complete=complete_symbol,
)
"""Where code is, for commands that take the present place without one."""


def is_event(word: str | int) -> TypeGuard[str]:
    """Whether a place is an event of the guest's kernel: t:SYSTEM:NAME."""
    return isinstance(word, str) and word.startswith(PREFIX)


def check_event(session: Session, word: str) -> None:
    """Raises MachineError if a place is an event that the guest's kernel does not have."""
    events = _events(session)
    if events is not None and not is_pattern(word):
        events.find(word.removeprefix(PREFIX))


def complete_place(session: Session, word: str) -> Iterable[str]:
    """Symbols, modules and events that begin with `word`."""
    if is_event(word) and _events(session) is not None:
        return [PREFIX + name for name in complete_event(session, word.removeprefix(PREFIX))]
    return complete_symbol(session, word)


def complete_event(session: Session, word: str) -> Iterable[str]:
    """The names of events that begin with `word`."""
    events = _events(session)
    return [] if events is None else sorted(name for name in events if name.startswith(word))


def _events(session: Session) -> TraceEvents | None:
    """The events of the guest's kernel; None if it is not Linux."""
    kernel = session.machine.kernel
    return None if kernel is None else kernel.tracepoints


def name_or_address(session: Session, function: Symbol) -> str | int:
    """The function's name, or its address if that name means another: static functions may have the same."""
    named = session.machine.symbols.get(function.name)
    return function.name if named is not None and named.address == function.address else function.address


def number_of_address(word: str) -> int:
    """A word that begins with a digit, as an address. Raises CommandError."""
    try:
        return int(word, 0)
    except ValueError:
        raise CommandError(f"{word!r} is not an address: write it in hexadecimal after 0x") from None


def matching_functions(session: Session, pattern: str) -> list[str | int]:
    """A name or address for each function that matches `pattern`. Raises CommandError if none matches."""
    if is_event(pattern):
        events = _events(session)
        found = [] if events is None else events.matching(pattern.removeprefix(PREFIX))
        if not found:
            raise CommandError(f"no event matches {pattern!r}")
        return [PREFIX + event.full_name for event in found]
    functions = session.kprobes.functions(pattern)
    if not functions:
        raise CommandError(f"no function matches {pattern!r}")
    return [name_or_address(session, function) for function in functions]


def location(session: Session, address: int, back: int = 0) -> Location:
    """An address and the symbol that covers it, or that covers the address `back` bytes before it.

    `back` is 4 for a return address, which the symbol of the call covers: a call that never returns is the last
    instruction of its function.
    """
    symbols, scratch = session.machine.symbols, address in session.machine.scratch
    found = symbols.at(address - back)
    if found is None:
        return Location(address, None, 0, 0, None, scratch)
    symbol, offset = found
    return Location(address, symbol.name, offset + back, symbol.size, symbols.module_at(address - back), scratch)
