# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `diff`: what has changed in the guest between two positions of its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.kernel import typed_memory
from armprobe.kernel.types import Enum, Integer, Pointer
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.pages import PAGE

from .declaration import Arg, Arguments, Command
from .positions import Instant, complete_position, instant
from .stops import require_stopped
from .values import Difference, RegisterChanged, SymbolChanged

if TYPE_CHECKING:
    from armprobe.machine import Symbol
    from armprobe.session import Session

_REGISTERS: Final = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate")
_LARGEST: Final = 1 << 20  # bytes of a symbol that is compared
_SHOWN: Final = 1000
_WORD: Final = 8

_Pages = dict[int, tuple[bytes, bytes]]
"""The contents of a page of memory at both positions, by its physical address."""


def _diff(session: Session, arguments: Arguments) -> Difference:
    require_stopped(session)
    machine, timeline = session.machine, session.machine.timeline
    with session.owner.interruptible():
        first = instant(session, arguments.first)
        present = timeline.branch  # of positions without one
        here = Instant(None if timeline.live else timeline.position)
        second = here if arguments.second is None else instant(session, arguments.second)
        with timeline.excursion():
            timeline.visit(first.position, first.branch or present)
            begun, before = timeline.position, _registers(machine)
            earlier = machine.checkpoints.take()
            try:
                timeline.visit(second.position, second.branch or present)
                ended, after = timeline.position, _registers(machine)
                later = machine.checkpoints.take()
                machine.checkpoints.drop(later)
                places = _data(machine)
                changed, pages, count = [], {}, 0
                for address, old, new in machine.checkpoints.differing(earlier):
                    changed.append(address)
                    count += sum(one != other for one, other in zip(old, new, strict=True))
                    if address in places:
                        pages[address] = old, new
                symbols = [each for each in _symbols(machine, places, pages) if each is not None]
            finally:
                machine.checkpoints.drop(earlier)
    registers = tuple(
        RegisterChanged(name, old, new) for name, old, new in zip(_REGISTERS, before, after, strict=True) if old != new
    )
    changed.sort()
    return Difference(
        begun,
        ended,
        registers,
        len(changed),
        count,
        tuple(changed[:_SHOWN]),
        tuple(symbols[:_SHOWN]),
        len(symbols),
    )


def _registers(machine: Machine) -> list[int]:
    return [machine.registers[name] for name in _REGISTERS]


def _data(machine: Machine) -> dict[int, list[tuple[Symbol, int]]]:
    """The symbols of data by the physical pages that they are in, each with its offset from the page's beginning."""
    physical: dict[int, int | None] = {}
    found: dict[int, list[tuple[Symbol, int]]] = {}
    seen = set()
    for symbol in machine.symbols:
        if symbol.kind == "function" or not 0 < symbol.size <= _LARGEST or symbol.address in seen:
            continue
        seen.add(symbol.address)
        for page in range(symbol.address // PAGE, (symbol.address + symbol.size - 1) // PAGE + 1):
            if page not in physical:
                try:
                    physical[page] = machine.memory.translate(page * PAGE).physical
                except MachineError:
                    physical[page] = None
            at = physical[page]
            if at is not None:
                found.setdefault(at, []).append((symbol, symbol.address - page * PAGE))
    return found


def _symbols(machine: Machine, places: dict[int, list[tuple[Symbol, int]]], pages: _Pages) -> list[SymbolChanged]:
    """The symbols whose data differ, by address."""
    changed: dict[int, tuple[Symbol, int]] = {}
    values: dict[int, tuple[int, int]] = {}
    for address, (old, new) in pages.items():
        for symbol, offset in places[address]:
            begin, end = max(0, offset), min(PAGE, offset + symbol.size)
            differing = sum(one != other for one, other in zip(old[begin:end], new[begin:end], strict=True))
            if not differing:
                continue
            changed[symbol.address] = symbol, differing + changed.get(symbol.address, (symbol, 0))[1]
            if symbol.size <= _WORD and begin == offset and end == offset + symbol.size:
                values[symbol.address] = (
                    int.from_bytes(old[begin:end], "little"),
                    int.from_bytes(new[begin:end], "little"),
                )
    return [
        _changed(machine, symbol, count, values.get(address)) for address, (symbol, count) in sorted(changed.items())
    ]


def _changed(machine: Machine, symbol: Symbol, count: int, values: tuple[int, int] | None) -> SymbolChanged:
    """A symbol with its values as its type says, where that is known and a number."""
    memory, kind, texts = typed_memory(machine), None, ("", "")
    try:
        variable = memory.find_variable(symbol.name)
        kind = None if variable is None else variable.type
    except MachineError:
        pass
    if values is not None:
        texts = f"{values[0]:#x}", f"{values[1]:#x}"
        if kind is not None and isinstance(kind.resolve(), Integer | Enum | Pointer):
            old, new = (str(memory.cast(value, kind)) for value in values)
            texts = old, new
    name = machine.symbols.describe(symbol.address)
    before, after = (None, None) if values is None else values
    return SymbolChanged(
        name, symbol.address, symbol.size, None if kind is None else str(kind), count, before, after, *texts
    )


COMMANDS = (
    Command(
        "diff",
        "Show what differs in the guest between two positions of its history.\n"
        "These are registers, memory, and the data of symbols, with their types where they are known.\n"
        "Without a second position, the present one is taken.\n"
        "Positions are written as for goto, and may be in different branches: diff main branch-1.",
        (
            Arg("first", "position, as for goto", complete=complete_position),
            Arg("second", "another one (default: the present)", optional=True, complete=complete_position),
        ),
        _diff,
        group="Going back",
        gdb="guest-diff",
    ),
)
