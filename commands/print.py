# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that shows the value of an expression where the guest is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.expressions import AgentError, ExpressionError, Note, View
from armprobe.expressions.program import Found, Typed
from armprobe.kernel import typed_memory, types
from armprobe.kernel.value import Value
from armprobe.kernel.value_text import formatted
from armprobe.probes import Stage
from armprobe.probes.guest_view import HitView

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .formats import number, split_format
from .locations import complete_symbol
from .program import SessionScope, refused
from .values import Printed, PrintedLine

if TYPE_CHECKING:
    from armprobe.session import Session


def _here(session: Session) -> tuple[SessionScope, View]:
    """The names and the registers where the guest is stopped."""
    machine, hit = session.machine, session.kprobes.stopped_for
    registers = machine.registers
    if hit is not None and hit.stage is Stage.RETURN and hit.instructions == machine.instructions:
        view = HitView(machine, session.kprobes).at(Stage.RETURN, hit.regs)
        return SessionScope(session, Stage.RETURN, hit.address), view
    scope = SessionScope(session, None, registers.pc)
    scope.in_kernel = machine.kernel is not None and registers.pstate & 0xC != 0  # PSTATE.EL
    return scope, session.guest_view


def scope_here(session: Session) -> SessionScope:
    """The names where the guest is stopped."""
    return _here(session)[0]


def found_here(session: Session, text: str) -> Found:
    """The value of an expression where the guest is stopped. Raises ExpressionError, AgentError."""
    scope, view = _here(session)
    return Typed.compile(text, scope).value(view)


def memory_here(session: Session, text: str) -> tuple[int, types.Type | None]:
    """The address and the type of what an expression names in memory; the type is None where it is not known.

    Raises ExpressionError, AgentError.
    """
    Typed.compile(text, scope_here(session))  # an error is about what was written, not about its address
    found = found_here(session, f"&({text})")
    pointer = found.type.resolve()
    return found.number, pointer.target.resolve() if isinstance(pointer, types.Pointer) else None


def _formatted(session: Session, value: Value, letter: str) -> str:
    """The value as gdb's `print/LETTER` shows it: each number in it, characters and enumerators too, by the letter."""

    def shown(each: Value) -> str:
        kind = each.type_.resolve()
        bits = int.from_bytes(each.bytes_(), "little") if isinstance(kind, types.Float) else int(each)
        unsigned = not isinstance(kind, types.Integer | types.Enum) or not kind.signed
        return number(session, bits, letter, kind.size, unsigned=unsigned)

    if isinstance(value.type_.resolve(), types.Integer | types.Enum | types.Pointer):
        return shown(value)
    return formatted(value, shown)


def _print(session: Session, arguments: Arguments) -> Printed | PrintedLine:
    scope, view = _here(session)
    form, text = split_format(arguments.expression)
    if form is not None and (form.times != 1 or form.size is not None or not text):
        raise CommandError("print takes a letter as its format, and an expression: print/x $x0")
    if form is not None and form.letter == "i":
        raise CommandError(f"the format i is for memory: write x/i {text}")
    try:
        if text.startswith('"'):
            return PrintedLine(Note.compile(text, scope).line(view))
        found = Typed.compile(text, scope).value(view)
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    memory = typed_memory(session.machine)
    if found.address is not None:
        value, plain = memory.read(found.address, found.type), None
    else:
        value = memory.cast(found.number, found.type)
        plain = int(value)
    letter = None if form is None or form.letter == "s" else form.letter  # gdb's s: as text where it is text
    return Printed(
        str(found.type), str(value) if letter is None else _formatted(session, value, letter), found.address, plain
    )


COMMANDS = (
    Command(
        "print",
        "Show the value of an expression where the guest is stopped, with its type, as drgn shows it.\n"
        "The expression is in C, as those of conditions are (see kprobe). A struct is shown with its members, and a\n"
        "pointer to one with what it points to:\n\n"
        "    print $task->comm\n"
        "    print *(struct file *)$x0\n"
        "    print container_of($x0, struct task_struct, tasks)->pid\n\n"
        "At a function's entry its arguments have their names, and at a kretprobe's stage return retval is the\n"
        "result. With a format in quotes print shows a line, as print after a probe does.\n\n"
        "print/x shows the numbers of a value in hexadecimal, those of a struct's members too, as gdb does. The\n"
        "letters are x, d, u, o, t, z, c, a, and s: numbers as they are, arrays of characters as text.",
        (Arg("expression", "an expression, or a format and values", rest=True, complete=complete_symbol),),
        _print,
        aliases=("p",),
        group="Inspection",
        gdb=False,
    ),
)
