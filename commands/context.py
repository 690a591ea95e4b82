# SPDX-License-Identifier: GPL-2.0-or-later
"""What the prompt shows after each stop: registers, code and callers. Scripts, -c and --json do not show it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from armprobe.machine import MachineError
from armprobe.session.authority import Asker, asker

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .inspect import disassembled_at
from .stack import stack_frames
from .values import Context, ContextRegister, Disassembly, StackFrame

if TYPE_CHECKING:
    from armprobe.session import Session

PARTS: Final = ("regs", "code", "stack")
_BEFORE, _AFTER = 2, 6  # instructions before the one that is next, and from it on
_CALLERS: Final = 5


class Shown:
    """What a prompt of one session shows after stops: the parts, and the registers that it has shown last."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.parts = parts
        self.registers: dict[str, int] = {}


_SHOWN: Final[WeakKeyDictionary[Session, dict[bool, Shown]]] = WeakKeyDictionary()
"""That of armprobe's own prompt (True), and that of debuggers, which show nothing until their user asks for it."""


def _shown(session: Session) -> Shown:
    both = _SHOWN.setdefault(session, {True: Shown(PARTS), False: Shown(())})
    return both[asker() is Asker.LOCAL]


def context(session: Session, parts: tuple[str, ...]) -> Context:
    """What is around the stop. For the owner's thread."""
    shown = _shown(session)
    registers: tuple[ContextRegister, ...] = ()
    if "regs" in parts:
        now = _registers(session)
        before, shown.registers = shown.registers or now, now
        registers = tuple(ContextRegister(name, value, before[name] != value) for name, value in now.items())
    code = _code(session) if "code" in parts else Disassembly()
    return Context(registers, code, _stack(session) if "stack" in parts else (), shown.parts)


def _registers(session: Session) -> dict[str, int]:
    machine = session.machine
    values = {f"x{number}": machine.registers.x[number] for number in range(30)}
    values["x30"] = session.kprobes.unwind.x30
    return {**values, "sp": machine.registers.sp, "pc": machine.registers.pc, "pstate": machine.registers.pstate}


def _code(session: Session) -> Disassembly:
    """The instructions around the next one, of the same function before it."""
    pc = session.machine.registers.pc
    found = session.machine.symbols.at(pc)
    start = pc if found is None else max(found[0].address, pc - 4 * _BEFORE)
    with contextlib.suppress(CommandError, MachineError):
        return disassembled_at(session, start, (pc - start) // 4 + _AFTER)
    return Disassembly()


def _stack(session: Session) -> tuple[StackFrame, ...]:
    with contextlib.suppress(MachineError):
        return stack_frames(session, session.kprobes.backtrace(None))[:_CALLERS]
    return ()


def wanted_context(session: Session) -> Context | None:
    """What is around the stop, of the parts that are shown after stops; None if there are none.

    For the owner's thread.
    """
    parts = _shown(session).parts
    with contextlib.suppress(MachineError):  # a guest that cannot be looked at has been shown as far as it can be
        return context(session, parts) if parts and not session.machine.ended else None
    return None


def after_stops(session: Session) -> Callable[[Callable[[object], None]], None]:
    """A function for the prompt, to be called after each command: it shows the context if the guest has stopped.

    It shows none where armprobe's own work in the guest has ended, such as a command of the guest's shell.
    """
    last = session.stop

    def after(show: Callable[[object], None]) -> None:
        nonlocal last
        if session.stop is last or session.owner.running:
            return
        last = session.stop
        if last.is_armprobes:
            return
        if (wanted := session.owner.call(wanted_context, session)) is not None:
            show(wanted)

    return after


def _context(session: Session, arguments: Arguments) -> Context:
    shown, word = _shown(session), arguments.parts
    if word is None:
        return context(session, shown.parts or PARTS)
    shown.parts = PARTS if word == "on" else () if word == "off" else tuple(dict.fromkeys(word.split(",")))
    return Context((), Disassembly(), (), shown.parts)


def _parts(session: Session, word: str) -> str:
    if word not in ("on", "off") and not set(word.split(",")) <= set(PARTS):
        raise CommandError(f"{word!r} is no part of the context: write on, off, or some of {','.join(PARTS)}")
    return word


COMMANDS = (
    Command(
        "context",
        "Show registers, code and callers where the guest is stopped, or choose what is shown after stops.\n"
        "armprobe's own prompt shows it after each stop, gdb's after context on, scripts and -c only when asked to.\n"
        "A * marks a register that has changed since it was last shown. The code says what a probe's breakpoint is\n"
        "for.\n\n"
        "    context off          show nothing after a stop\n"
        "    context code,stack   show these two\n"
        "    context on           show everything",
        (
            Arg(
                "parts",
                "on, off, or some of regs,code,stack (default: show it now)",
                type=_parts,
                optional=True,
                complete=lambda _session, _word: ("on", "off", *PARTS),
            ),
        ),
        _context,
        group="Inspection",
        gdb="guest-context",  # pwndbg and GEF have one of that name
    ),
)
