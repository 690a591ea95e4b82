# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that look at the guest without running it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from armprobe.machine import StopReason
from armprobe.machine.core.registers import NAMES
from armprobe.probes import is_pattern

from .declaration import Arg, Arguments, Command, integer
from .disassembly import disassembled
from .errors import CommandError
from .hits import last_hit, stage_of
from .kernel import complete_task, known_tasks, task_backtrace
from .locations import complete_symbol, location, place
from .probe import list_probes
from .registers import registers
from .selection import complete_probe
from .stack import stack_frames
from .stops import stopped
from .values import (
    Backtrace,
    Disassembly,
    Instruction,
    Location,
    MachineInfo,
    MappedRange,
    MemoryMap,
    Probes,
    Registers,
    SymbolMatches,
    SymbolRow,
    SystemRegister,
    SystemRegisters,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from armprobe.session import Session

GROUP = "Inspection"
_SHOWN_SYMBOLS: Final = 50


def _symbols(session: Session, arguments: Arguments) -> Location | SymbolMatches:
    symbols, what = session.machine.symbols, arguments.what
    if what[0].isdigit() or what[0] == "$":
        return location(session, place(session, what))
    names = _matching(session, what) if is_pattern(what) else symbols.matching(what, _SHOWN_SYMBOLS + 1)
    if not names:
        raise CommandError(_unknown(session, what))
    found = [(name, symbol) for name in names for symbol in symbols.named(name)]
    shown = max(_SHOWN_SYMBOLS, len(symbols.named(what)))  # those of exactly that name come first
    rows = (
        SymbolRow(name, symbol.address, symbol.size, symbol.kind, symbols.module_at(symbol.address))
        for name, symbol in found[:shown]
    )
    return SymbolMatches(what, tuple(rows), len(found) > shown)


def _matching(session: Session, pattern: str) -> list[str]:
    """The first names, by the alphabet, that match a pattern."""
    names = {symbol.name for symbol in session.machine.symbols.search(pattern)}
    return heapq.nsmallest(_SHOWN_SYMBOLS + 1, names)


def _unknown(session: Session, name: str) -> str:
    if is_pattern(name):
        return f"no symbol matches {name!r}"
    try:
        session.machine.symbols[name]
    except Exception as error:
        return str(error)
    return f"no symbol begins with {name!r}"


def _disassemble(session: Session, arguments: Arguments) -> Disassembly:
    address = arguments.address
    return disassembled_at(session, session.machine.registers.pc if address is None else address, arguments.count)


def disassembled_at(session: Session, address: int, count: int) -> Disassembly:
    """`count` instructions as they are in memory; fewer where the guest maps nothing. Raises CommandError."""
    if address % 4:
        raise CommandError(f"the address of an instruction is a multiple of 4, and {address:#x} is not")
    if not 0 < count <= 4096:
        raise CommandError("disassemble shows 1 to 4096 instructions at a time")
    data = session.machine.memory.read_available(address, 4 * count)
    return Disassembly(_instructions(session, address, data))


def _instructions(session: Session, start: int, data: bytes) -> Iterator[Instruction]:
    pc, unpatched = session.machine.registers.pc, session.kprobes.unpatched(start, data)
    for offset in range(0, len(data) - 3, 4):
        word, original = (int.from_bytes(each[offset : offset + 4], "little") for each in (data, unpatched))
        address = start + offset
        replaced = None if original == word else disassembled(original, address)
        yield Instruction(location(session, address), word, disassembled(word, address), address == pc, replaced)


def _backtrace(session: Session, arguments: Arguments) -> Backtrace:
    of = arguments.of
    if of is not None and of.isdecimal() and known_tasks(session) is not None:
        return task_backtrace(session, int(of))
    hit = None if of is None else last_hit(session, of)[-1]
    found = session.kprobes.backtrace(hit)
    return Backtrace(None if hit is None else stage_of(hit), stack_frames(session, found), found.end)


class _Cpu:
    """The CPU's own registers with the names that pt_regs has."""

    def __init__(self, session: Session) -> None:
        registers = session.machine.registers
        self.regs: Sequence[int] = [registers.x[i] for i in range(31)]
        self.sp, self.pc, self.pstate = registers.sp, registers.pc, registers.pstate


_SYSTEM: Final = (
    *("sctlr_el1", "tcr_el1", "ttbr0_el1", "ttbr1_el1", "vbar_el1"),
    *("esr_el1", "far_el1", "elr_el1", "spsr_el1", "mdscr_el1"),
)


_PARTS: Final = ("machine", "registers", "system", "kprobes", "mem")


_IN_GDB: Final = {
    "locals": "armprobe gdb reads local variables, by DWARF",
    "frame": "backtrace shows the callers, and info args the arguments at a function's entry",
    "threads": "tasks lists those of a Linux guest",
    "functions": "symbols PATTERN lists functions",
    "variables": "symbols PATTERN lists variables",
    "sharedlibrary": "info machine names the modules of a Linux guest",
}


def _part(session: Session, word: str) -> str:
    """A part of what info shows, by its name or a unique beginning of it; r is short for registers, as in gdb."""
    found = [part for part in _PARTS if part.startswith(word)]
    if word in _IN_GDB:
        raise CommandError(f"there is no info {word} as in gdb: {_IN_GDB[word]}")
    if len(found) != 1 and word not in _PARTS:
        raise CommandError(f"WHAT cannot be {word!r}: choose from {', '.join((*_PARTS, 'breakpoints'))}")
    return found[0] if len(found) == 1 else word


def _info(session: Session, arguments: Arguments) -> MachineInfo | Registers | SystemRegisters | Probes | MemoryMap:
    if arguments.names:
        if arguments.what != "registers":
            raise CommandError(
                f"info {arguments.what} does not know what to do with {arguments.names[0]!r}; usage: {_INFO.usage}"
            )
        names = [name.removeprefix("$") for name in arguments.names]
        return SystemRegisters(SystemRegister(name, session.machine.registers[name]) for name in names)
    match arguments.what:
        case "kprobes":
            return list_probes(session)
        case "registers":
            return registers(session, _Cpu(session))
        case "system":
            return SystemRegisters(SystemRegister(name, session.machine.registers[name]) for name in _SYSTEM)
        case "mem":
            return _memory_map(session)
        case _:
            return _machine_info(session)


def _machine_info(session: Session) -> MachineInfo:
    machine, stop = session.machine, session.stop
    modules = None if machine.kernel is None else machine.kernel.modules
    return MachineInfo(
        guest=session.name,
        kind=machine.guest.kind,
        symbols=len(machine.symbols),
        modules=None if modules is None else tuple(modules),
        why_no_modules=machine.symbols.why_no_modules,
        memory_size=machine.ram.size,
        memory_base=machine.ram.base,
        cpu=machine.core.model,
        pstate=machine.registers.pstate,
        instructions=machine.instructions,
        seconds=machine.clock.seconds,
        era=session.kprobes.era.name,
        era_origin=session.kprobes.era_origin,
        probes=len(session.probes),
        gdb=session.stub_address,
        stop=stopped(session, stop) if stop.reason is not StopReason.UNTIL or stop.text else None,
    )


def _memory_map(session: Session) -> MemoryMap:
    """The mapped memory. Raises CommandError, with a part of it as its value, if the guest maps too much to list."""
    memory = session.machine.memory
    if not memory.translating:
        return MemoryMap(False, ())
    regions, complete = memory.mapped()
    merged: list[MappedRange] = []
    for region in regions:
        access = "".join(letter for letter in "urwx" if letter in region.access)
        if merged and (merged[-1].end, merged[-1].access) == (region.start, access):
            merged[-1] = MappedRange(merged[-1].start, region.end, access)
        else:
            merged.append(MappedRange(region.start, region.end, access))
    known = MemoryMap(True, tuple(merged))
    if not complete:
        raise CommandError(f"that is not all: the guest maps more than {len(regions):,} regions", known)
    return known


def _complete_stack(session: Session, word: str) -> Iterable[str]:
    return [*complete_task(session, word), *(each for each in complete_probe(session, word) if not each.isdecimal())]


_INFO: Final = Command(
    "info",
    "Show the state of the machine, the registers, EL1's main system registers, the probes, or mapped memory.\n"
    "info mem lists the memory that the guest's page tables map, in the format of QEMU's monitor: start, end,\n"
    "size and access (r: read, w: write, x: execute, u: also at EL0). info registers x0 pc shows these registers.",
    (
        Arg(
            "what",
            "machine, registers, system, kprobes or mem (default: machine)",
            type=_part,
            complete=lambda _session, _word: _PARTS,
            optional=True,
            default="machine",
        ),
        Arg(
            "names",
            "of registers: x0, sp, esr_el1 (default: x0 to x30, sp, pc, pstate)",
            complete=lambda _session, _word: NAMES,
            optional=True,
            many=True,
        ),
    ),
    _info,
    aliases=("i",),
    group=GROUP,
    gdb=False,
)

COMMANDS = (
    Command(
        "backtrace",
        "Show the callers of the code at which the guest is stopped, of a probe's last hit, or of a task.\n"
        "It follows the frame records on the stack, as the kernel's backtraces do, and shows the callers in place\n"
        "of the trampoline of kretprobes. The callers of a hit are known while the guest is stopped at it, and\n"
        "those of a kretprobe's hit until the call has returned. In a Linux guest a number is that of a task.",
        (
            Arg(
                "of",
                "name of a probe, or number of a task; without tasks, number of a probe (default: neither)",
                optional=True,
                complete=_complete_stack,
            ),
        ),
        _backtrace,
        aliases=("bt",),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "symbols",
        "List the symbols whose names begin with a word or match a pattern, or show the symbol at an address.",
        (
            Arg(
                "what",
                "beginning of a name, a pattern such as *alloc*, an address or $REGISTER",
                complete=complete_symbol,
            ),
        ),
        _symbols,
        group=GROUP,
    ),
    Command(
        "disassemble",
        "Show instructions as they are in memory, with the breakpoints of probes and what these are in place of.",
        (
            Arg(
                "address",
                "SYMBOL, SYMBOL+0x10, a number or $REGISTER (default: $pc)",
                type=place,
                optional=True,
                complete=complete_symbol,
            ),
            Arg("count", "number of instructions (default: 8)", type=integer, optional=True, default=8),
        ),
        _disassemble,
        group=GROUP,
        gdb=False,
    ),
    _INFO,
)
