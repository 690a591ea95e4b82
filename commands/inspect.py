# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that look at the guest without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason
from armprobe.probes import symbolised

from .errors import CommandError
from .instructions import disassembled
from .locations import complete_symbol, place, where
from .probe import complete_probe, last_hit
from .registers import pstate_text, pt_regs_text
from .registry import Arg, Arguments, Command, Out, integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from armprobe.session import Session

GROUP = "Looking"
_SHOWN_SYMBOLS: Final = 50
_MOST_BYTES: Final = 1 << 16


def _symbols(session: Session, arguments: Arguments, out: Out) -> None:
    symbols = session.machine.symbols
    if arguments.what[0].isdigit() or arguments.what[0] == "$":
        out(f"{where(session, place(session, arguments.what))}\n")
        return
    names = symbols.matching(arguments.what, _SHOWN_SYMBOLS + 1)
    if not names:
        raise CommandError(_unknown(session, arguments.what))
    found = [(name, symbol) for name in names for symbol in symbols.named(name)]
    shown = max(_SHOWN_SYMBOLS, len(symbols.named(arguments.what)))  # those of exactly that name come first
    for name, symbol in found[:shown]:
        module = "" if ":" in name else symbols.in_module(symbol.address)
        out(f"{symbol.address:#018x} {symbol.size:>8} {symbol.kind:<8} {name}{module}\n")
    if len(found) > shown:
        out(f"... and more: give a longer beginning than {arguments.what!r}\n")


def _unknown(session: Session, name: str) -> str:
    try:
        session.machine.symbols[name]
    except Exception as error:
        return str(error)
    return f"no symbol begins with {name!r}"


def _examine(session: Session, arguments: Arguments, out: Out) -> None:
    address, count = arguments.address, arguments.bytes
    if not 0 < count <= _MOST_BYTES:
        raise CommandError(f"examine shows 1 to {_MOST_BYTES} bytes at a time")
    data = session.machine.memory.read_available(address, count)
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        out(f"{address + at:#018x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {text}\n")
    if len(data) < count:
        out(f"{address + len(data):#018x}  (the guest maps nothing from here)\n")


def _disassemble(session: Session, arguments: Arguments, out: Out) -> None:
    address, count = arguments.address, arguments.count
    if address % 4:
        raise CommandError(f"instructions are at multiples of 4, {address:#x} is none")
    if not 0 < count <= 4096:
        raise CommandError("disassemble shows 1 to 4096 instructions at a time")
    data = session.machine.memory.read_available(address, 4 * count)
    pc = session.machine.registers.pc
    for at in range(address, address + len(data) - 3, 4):
        word = int.from_bytes(data[at - address : at - address + 4], "little")
        found = session.machine.symbols.at(at)
        if found and (found[1] == 0 or at == address):
            out(f"{session.machine.symbols.describe(at)}:\n")
        out(f"{'=>' if at == pc else '  '} {at:#018x}  {word:08x}  {disassembled(word, at)}\n")


def _backtrace(session: Session, arguments: Arguments, out: Out) -> None:
    hit = None
    if arguments.probe is not None:
        hit = last_hit(session, arguments.probe)[-1]
        out(f"{hit}:\n")
    backtrace = session.kprobes.backtrace(hit)
    for number, frame in enumerate(backtrace.frames):
        note = " (interrupted)" if number and not frame.called else ""
        where = symbolised(session.machine.symbols, frame)
        out(f"#{number:<3} {frame.pc:#018x} {where}{' at EL0' if frame.el0 else ''}{note}\n")
    if backtrace.end:
        out(f"No further: {backtrace.end}\n")


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


def _info(session: Session, arguments: Arguments, out: Out) -> None:
    machine = session.machine
    if arguments.what == "kprobes":
        session.shell.registry.run(session, "probes", out)
    elif arguments.what == "registers":
        out(pt_regs_text(session, _Cpu(session)))
    elif arguments.what == "system":
        for name in _SYSTEM:
            out(f"{name:<10} {machine.registers[name]:#018x}\n")
    elif arguments.what == "mem":
        _info_mem(session, out)
    else:
        stop: Stop = session.stop
        out(f"guest         {session.name} ({machine.kind}), {len(machine.symbols):,} symbols\n")
        if machine.kind == "linux":
            modules = ", ".join(machine.symbols.modules) or machine.symbols.why_no_modules or "none"
            out(f"modules       {modules}\n")
        out(f"memory        {machine.ram.size >> 20} MiB at {machine.ram.base:#x}\n")
        out(f"CPU           {machine.core.model}, pstate {pstate_text(machine.registers.pstate)}\n")
        out(f"instructions  {machine.instructions:,}\n")
        out(f"guest time    {machine.clock.seconds:.6f} s\n")
        out(f"era           {session.kprobes.era.name} ({session.kprobes.era_origin})\n")
        out(f"probes        {len(session.probes)}\n")
        out(f"gdb           {f'target remote {session.stub_address}' if session.stub_address else 'not listening'}\n")
        out(f"stopped       {session.describe(stop)}\n" if stop.reason is not StopReason.UNTIL or stop.text else "")


def _info_mem(session: Session, out: Out) -> None:
    """In the format of QEMU's `info mem` for x86, which has none for AArch64 (mem_print, target/i386/monitor.c)."""
    memory = session.machine.memory
    if not memory.translating:
        out("PG disabled\n")
        return
    regions, complete = memory.mapped()
    merged: list[tuple[int, int, str]] = []
    for region in regions:
        access = "".join(letter if letter in region.access else "-" for letter in "urw")
        if merged and merged[-1][1:] == (region.start, access):
            merged[-1] = merged[-1][0], region.end, access
        else:
            merged.append((region.start, region.end, access))
    out("".join(f"{start:016x}-{end:016x} {end - start:016x} {access}\n" for start, end, access in merged))
    if not complete:
        raise CommandError(f"that is not all: the guest maps more than {len(regions):,} regions")


COMMANDS = (
    Command(
        "backtrace",
        "Show who called the code that the guest is stopped in, or that a probe was last hit in.\n"
        "It follows the frame records on the stack, as the kernel's own backtraces do, and passes over the trampoline\n"
        "of kretprobes. Of a hit it can be told while the guest is stopped for it, or until the call that a kretprobe\n"
        "waits for has returned.",
        (Arg("probe", "its number or name (default: where the guest is now)", optional=True, complete=complete_probe),),
        _backtrace,
        aliases=("bt",),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "symbols",
        "Show the symbols that begin so, or what is at an address.",
        (Arg("what", "beginning of a name, an address or $REGISTER", complete=complete_symbol),),
        _symbols,
        group=GROUP,
    ),
    Command(
        "examine",
        "Show memory, in bytes and characters.",
        (
            Arg("address", "SYMBOL, SYMBOL+0x10, a number or $REGISTER", type=place, complete=complete_symbol),
            Arg("bytes", "how many", type=integer, optional=True, default=64),
        ),
        _examine,
        aliases=("x",),
        group=GROUP,
    ),
    Command(
        "disassemble",
        "Show instructions as they are in memory, breakpoints of probes included.",
        (
            Arg(
                "address",
                "SYMBOL, SYMBOL+0x10, a number or $REGISTER (default: $pc)",
                type=place,
                optional=True,
                complete=complete_symbol,
            ),
            Arg("count", "how many instructions", type=integer, optional=True, default=8),
        ),
        lambda session, arguments, out: _disassemble(session, _at_pc(session, arguments), out),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "info",
        "Show where the machine stands; or all registers, EL1's main system registers, the probes, mapped memory.\n"
        "info mem lists what the guest's page tables map as QEMU's monitor does: start, end, size, and what may be\n"
        "done there: r to read, w to write, and u if EL0 may do so too.",
        (
            Arg(
                "what",
                "what to show",
                choices=("machine", "registers", "system", "kprobes", "mem"),
                optional=True,
                default="machine",
            ),
        ),
        _info,
        group=GROUP,
        gdb=False,
    ),
)


def _at_pc(session: Session, arguments: Arguments) -> Arguments:
    if arguments.address is None:
        arguments.address = session.machine.registers.pc
    return arguments
