# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that show a type: of an expression where the guest is stopped, or by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from armprobe.expressions import ExpressionError
from armprobe.expressions.program import Typed
from armprobe.kernel import typed_memory, types
from armprobe.kernel.type_text import definition
from armprobe.machine import MachineError

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .locations import complete_symbol
from .print import scope_here
from .program import refused
from .values import TypeDefinition, TypeMember

if TYPE_CHECKING:
    from armprobe.session import Session

_TAG: Final = re.compile(r"(?:(?:const|volatile)\s+)*(?:struct|union|enum)\b")
_WHAT: Final = Arg("what", "an expression, a function, or a type as C spells it", rest=True, complete=complete_symbol)


def _type(session: Session, text: str) -> types.Type:
    """The type that `text` names, or of the expression that it is."""
    try:
        known = typed_memory(session.machine).types
        if _TAG.match(text):
            return known.type(text)
        if (function := known.find(text, "function")) is not None:
            return function
        try:
            return Typed.compile(text, scope_here(session)).type
        except ExpressionError as error:
            try:
                return known.type(text)
            except MachineError:
                raise refused(error) from error
    except MachineError as error:
        raise CommandError(str(error)) from error


def _members(kind: types.Type) -> Iterator[TypeMember]:
    kind = kind.resolve()
    for _ in range(types.DEEPEST):
        if not isinstance(kind, types.Pointer | types.Array):
            break
        kind = kind.target.resolve()
    if isinstance(kind, types.Struct) and kind.known:
        for each in kind.members.values():
            bit = None if each.bit_field_size is None else each.bit_offset % 8
            yield TypeMember(each.name, str(each.type), each.offset, each.type.size, bit, each.bit_field_size)


def _size(kind: types.Type) -> int | None:
    try:
        return kind.size
    except MachineError:  # a function, void, or a struct of which only the name is known
        return None


def _ptype(session: Session, arguments: Arguments) -> TypeDefinition:
    option, text = "", arguments.what
    if text.startswith("/"):
        option, _, text = text.partition(" ")
    if option not in ("", "/o") or not text.strip():
        raise CommandError("ptype takes /o, for offsets, and what to show: ptype/o struct pt_regs")
    kind = _type(session, text.strip())
    return TypeDefinition(str(kind), _size(kind), tuple(_members(kind)), definition(kind, bool(option)))


def _whatis(session: Session, arguments: Arguments) -> TypeDefinition:
    kind = _type(session, arguments.what)
    return TypeDefinition(str(kind), _size(kind), tuple(_members(kind)), f"type = {kind}")


COMMANDS = (
    Command(
        "ptype",
        "Show a type with its members, as gdb does.\n"
        "ptype/o shows the offset and the size of each member in bytes, the holes between them, and the members of\n"
        "structs within. At a function's entry its arguments have their names:\n\n"
        "    ptype struct pt_regs\n"
        "    ptype/o *$task\n"
        "    ptype kfree",
        (_WHAT,),
        _ptype,
        group="Inspection",
        gdb=False,
    ),
    Command(
        "whatis",
        "Show the name of a type: that of an expression where the guest is stopped.",
        (_WHAT,),
        _whatis,
        group="Inspection",
        gdb=False,
    ),
)
