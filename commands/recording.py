# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command's probe records of its hits."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from armprobe.expressions.check import is_reserved
from armprobe.kernel.types import Function, Integer, Pointer, Qualified
from armprobe.probes import Record, Stage

from .declaration import Arguments
from .errors import CommandError
from .program import SessionScope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armprobe.session import Session

_MOST_TEXTS: Final = 4  # of 256 bytes: MOST_MEMORY has room for so many, however many hits are kept


def chosen_record(arguments: Arguments, stages: tuple[Stage, ...]) -> bool | Record:
    """What the arguments `quiet`, `record`, `memory` and `strings` choose. Raises CommandError."""
    if not (arguments.record or arguments.memory or arguments.strings):
        return not arguments.quiet
    if arguments.quiet:
        raise CommandError("quiet=yes records nothing, and record=, memory= and strings= choose what is recorded")
    named = {stage.value: stage for stage in stages}
    chosen = [named[word] for word in arguments.record if word in named]
    registers = [word for word in arguments.record if word not in named]
    memory = {}
    for word in arguments.memory:
        address, colon, size = word.rpartition(":")
        if not colon:
            raise CommandError(f"memory= takes addresses with sizes, as in x1:64, and {word!r} has none")
        memory[word] = address, size
    return Record(
        stages=chosen or None,
        registers=registers if registers or chosen else None,
        memory=memory,
        strings={word: word for word in arguments.strings},
    )


def with_texts(session: Session, record: bool | Record, where: int | str) -> bool | Record:
    """`record`; where it is all registers, also the texts that arguments of the function at `where` point to."""
    if record is not True:
        return record
    scope = SessionScope(session, Stage.PRE, where)
    called = scope.called
    if called is None or called.prototype is None or called.elsewhere:
        return record
    names = [*islice(_texts(called.prototype), _MOST_TEXTS)]
    return Record(strings={name: name for name in names}) if names else record


def _texts(function: Function) -> Iterator[str]:
    """The parameters that are `const char *`: a function only fills in what another `char *` points to."""
    for name, type in function.parameters:
        pointer = type.resolve()
        if isinstance(pointer, Pointer) and isinstance(pointer.target, Qualified):
            character = pointer.target.target
            is_text = isinstance(character, Integer) and character.name == "char"
            if name and is_text and not is_reserved(name):
                yield name
