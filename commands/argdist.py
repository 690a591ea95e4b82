# SPDX-License-Identifier: GPL-2.0-or-later
"""The command argdist, with the specifiers of the tool of that name in bcc (tools/argdist.py)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from armprobe.probes.tracepoint import PREFIX

from . import bcc
from .aggregation import CONDITION, KEYS, MAXACTIVE, set_counting
from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .locations import complete_symbol
from .measuring import WHILE
from .probe import GROUP
from .values import Aggregates, Registered

if TYPE_CHECKING:
    from armprobe.session import Session

_SPECIFIER: Final = re.compile(
    r"(?:(?P<kind>\w+):(?P<library>[^:()]*):)?(?P<function>[\w.$]+)(?:\((?P<signature>[^)]*)\))?"
    r"(?::(?P<types>[^:]+):(?P<expression>[^:#]+)(?::(?P<filter>[^#]+))?)?(?:#.*)?"
)
_IS_SPECIFIER: Final = re.compile(r".*\(|[pru]:[^:]*:")
_PARAMETER: Final = re.compile(r"(?P<type>.*?)\s*\b(?P<name>\w+)\s*")
_ANNOTATION: Final = re.compile(r"\b__(?:user|kernel|iomem|percpu|rcu|force)\b")
"""What sparse knows of a pointer (include/linux/compiler_types.h), and the compiler does not."""
_WORD: Final = re.compile(r"(?<![\w.>$])\$?[A-Za-z_]\w*")
_FIELD: Final = re.compile(r"\bargs\s*->\s*")
_TEXT: Final = re.compile(r"\s*(const\s+)?char\s*\*\s*")
_ALIASES: Final = {"$retval": "retval", "$latency": "$elapsed", "$PID": "$task->tgid", "$COMM": "$comm"}
_MOST_PARAMETERS: Final = 8  # in registers (AAPCS64, 6.8.2)


def _argdist(session: Session, arguments: Arguments) -> Registered | Aggregates:
    place, expression, condition = arguments.place, arguments.expression, arguments.condition
    if _IS_SPECIFIER.match(place):
        if expression or condition:
            raise CommandError(
                "a specifier has its expression and its filter behind the function, after colons, and a line to itself"
            )
        place, expression, condition = _specified(place)
    value, key = (None, expression) if arguments.kind == "-C" else (expression, None)
    if arguments.kind == "-H" and value is None:
        raise CommandError("argdist -H needs an expression, whose values the histogram is of")
    arguments.place, arguments.key, arguments.condition = place, key, condition
    return set_counting(session, arguments, value)


def _specified(text: str) -> tuple[str, str | None, str | None]:
    """The place, the expression and the filter of bcc's specifier, in our language. Raises CommandError."""
    found = _SPECIFIER.fullmatch(text)
    if found is None:
        raise CommandError(
            f"{text!r} is no specifier of argdist: write p::FUNCTION(PARAMETERS):TYPE:EXPRESSION, with r for returns, "
            "or t:SYSTEM:EVENT():TYPE:EXPRESSION"
        )
    kind, library, place = found["kind"] or "p", found["library"] or "", found["function"]
    if kind == "t" and library:
        place = f"{PREFIX}{library}:{place}"
    elif kind not in ("p", "r") or library:
        raise CommandError(
            "argdist counts functions and events of the kernel: its specifier begins with p::, r:: or t:SYSTEM:"
        )
    expression, condition = found["expression"], found["filter"]
    if expression is None:
        return place, "retval" if kind == "r" else None, None
    if "," in re.sub(r"\([^()]*\)", "", expression):
        raise CommandError("argdist counts by one expression here")
    words = _parameters(found["signature"] or "") | _ALIASES
    expression, condition = (None if each is None else _translated(each, words) for each in (expression, condition))
    if _TEXT.fullmatch(found["types"]):
        expression = f"str({expression})"
    return place, expression, condition


def _parameters(signature: str) -> dict[str, str]:
    """What the parameters of a function are by their place, whatever the specifier calls them."""
    listed = [each.strip() for each in signature.split(",")] if signature.strip() not in ("", "void") else []
    if len(listed) > _MOST_PARAMETERS:
        raise CommandError(f"{len(listed)} parameters are too many: the first {_MOST_PARAMETERS} are in registers")
    parameters = {}
    for number, each in enumerate(listed):
        found = _PARAMETER.fullmatch(_ANNOTATION.sub("", each))
        if found is None or not found["type"]:
            raise CommandError(f"{each!r} is no parameter: write its type and its name")
        parameters[found["name"]] = f"(({found['type']})x{number})"
    return parameters


def _translated(expression: str, words: dict[str, str]) -> str:
    if "$entry" in expression:
        raise CommandError("$entry(PARAMETER) at a return is not known here: use latency, or hist at the entry")
    return _WORD.sub(lambda word: words.get(word[0], word[0]), _FIELD.sub("", expression)).strip()


COMMANDS = (
    Command(
        "argdist",
        "Count the values of an expression at the calls of a function (-C), or make a histogram of them (-H).\n"
        "argdist -C FUNCTION EXPRESSION is count FUNCTION by EXPRESSION, and argdist -H is hist. Specifiers of bcc's\n"
        "argdist are understood. Their parameters are known by their place, whatever their names are:\n\n"
        "    argdist -C vfs_read count\n"
        "    argdist -H 'p::vfs_read(void *file, char *buffer, size_t size):size_t:size'\n"
        "    argdist -C 'r::vfs_read():int:$retval:$retval > 0'\n"
        "    argdist -C 't:irq:irq_handler_entry():int:args->irq'",
        (
            Arg("kind", "-C: count by value; -H: a histogram", choices=("-C", "-H")),
            Arg("place", "a function, or a specifier as of bcc", complete=complete_symbol),
            KEYS,
            MAXACTIVE,
            *bcc.TASK_OPTIONS,
            *bcc.RUN,
            Arg(
                "expression",
                "the value, up to if, while or the end of the line",
                optional=True,
                rest=True,
                verbatim=False,
            ),
            CONDITION,
            WHILE,
        ),
        _argdist,
        group=GROUP,
        changes_state=True,
        instead=bcc.OF_ARGDIST,
        long=bcc.LONG_OF_ARGDIST,
    ),
)
