# SPDX-License-Identifier: GPL-2.0-or-later
"""The declaration of a command: its name, help, arguments, and the function that does it.

A command is declared once, as a frozen `Command` whose `args` are `Arg` (found by position), `Option` (written
``name=value``) and `Clause` (the rest of the line after a word). Usage lines, help, arity checks, completion, the table
for the gdb-side proxy and the reference manual all come from that declaration, so they cannot disagree.
"""

import contextlib
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias, TypeVar

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.session.authority import Host, described

from .errors import CommandError
from .values import ArgumentHelp, CommandHelp

T = TypeVar("T")
Parts: TypeAlias = Generator[object, None, T]
"""The result of a command that answers in parts: it yields parts, which are shown at once, and returns the whole."""

# The registry passes the session through and never looks inside it, so any object will do: hence Any.
Convert = Callable[[Any, str], Any]
Complete = Callable[[Any, str], Iterable[str]]


_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Arguments(SimpleNamespace):
    """The converted arguments of one command line: an attribute for each `Arg` and `Option`, ``-`` written ``_``."""


def text(session: Any, word: str) -> str:
    """The word itself (the default converter of an argument)."""
    return word


def integer(session: Any, word: str) -> int:
    """A whole number: 1000, 0x3e8, 1e3 or 1k; k, M and G are powers of 1000. Raises `CommandError` for others."""
    return _whole(word, 1000)


def size(session: Any, word: str) -> int:
    """A number of bytes: 4096, 0x1000 or 4k; k, M and G are powers of 1024. Raises `CommandError` for others."""
    return _whole(word, 1024)


def _whole(word: str, unit: int) -> int:
    with contextlib.suppress(ValueError):
        return int(word, 0)
    match = re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?)(?:e(\d{1,2})|([kMG]))", word, re.ASCII)
    if match is not None:
        from decimal import Decimal

        number, exponent, letter = match.groups()
        scaled = Decimal(number) * (10 ** int(exponent) if exponent else unit ** (1 + "kMG".index(letter)))
        if scaled == int(scaled):
            return int(scaled)
    raise CommandError(f"{word!r} is not a number: write it as 1000, 0x3e8, 1e3 or 1k")


def seconds(session: Any, word: str) -> float:
    """A time in seconds: 10, 0.5, 10s, 20ms, 30us or 40ns. Raises `CommandError` for others."""
    match = re.fullmatch(r"(\d{1,20}(?:\.\d{1,20})?)(s|ms|us|ns)?", word, re.ASCII)
    if match is None:
        raise CommandError(f"{word!r} is no time: write it as 10 or 0.5, in seconds, or as 20ms")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def path(session: Any, word: str) -> Path:
    """A file of the host. An argument of this type declares in `host` what the command does with the file."""
    return Path(word)


@lazy_dataclass
class Arg:
    """An argument found by its position.

    name: the attribute handlers read; usage shows it in capitals.
    type: converter from (session, word) to the value; raises `CommandError` for a bad word.
    optional: may be left out; the value is then `default`. Only optional arguments may follow an optional one.
    many: takes all remaining words (at least one unless optional), giving a tuple. Must be the last.
    rest: takes the rest of the line verbatim, quotes included, as one word, up to a clause. Must be the last.
    verbatim: options at the end of that rest are a part of it.
    foreign: that rest is of another language, such as a shell's or SQL: no ``;`` in it ends the command.
    choices: the only words allowed, if any are named.
    complete: candidates from (session, the word so far); those that do not begin with that word are dropped.
    host: what the command touches of the host if the value is a `Path`; refused to clients without that right.
    """

    name: str
    help: str
    type: Convert = text
    host: Host = Host.NOTHING
    optional: bool = False
    many: bool = False
    rest: bool = False
    verbatim: bool = True
    foreign: bool = False
    choices: tuple[str, ...] = ()
    complete: Complete | None = None
    default: Any = None

    @property
    def usage(self) -> str:
        shown = "|".join(self.choices) or self.name.upper()
        shown += "..." if self.many or self.rest else ""
        return f"[{shown}]" if self.optional else shown

    @property
    def label(self) -> str:
        return self.name.upper()


@lazy_dataclass
class Option:
    """An argument written ``name=value``, anywhere after the command's name; always optional.

    many: the value is a comma-separated list, given to the handler as a tuple (empty if the option is absent).
    flag: another spelling, that of the tool from which a command has its name. The value is in the next word, or behind
        the letter, and that of an option with a choice of one word is this word.
    The other fields are those of `Arg`. A word ``key=value`` whose key is not declared is an ordinary word.
    """

    name: str
    help: str
    type: Convert = text
    host: Host = Host.NOTHING
    many: bool = False
    choices: tuple[str, ...] = ()
    complete: Complete | None = None
    default: Any = None
    flag: str = ""

    @property
    def usage(self) -> str:
        return f"[{self.name}={'|'.join(self.choices) or self.name.upper()}{',...' if self.many else ''}]"

    @property
    def label(self) -> str:
        return f"{self.name}="


@lazy_dataclass
class Clause:
    """An argument that follows a keyword, after all others, as in gdb's ``break f if x > 1``; always optional.

    keyword: the word before it. The value is the rest of the line, verbatim, up to the keyword of another clause; None
        without the keyword.
    name, help, complete and foreign are those of `Arg`. last: no other clause follows it: the keywords of others are
        its text.
    """

    keyword: str
    name: str
    help: str
    complete: Complete | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    default: None = None
    last: bool = False
    foreign: bool = False

    @property
    def usage(self) -> str:
        return f"[{self.label}]"

    @property
    def label(self) -> str:
        return f"{self.keyword} {self.name.upper()}"


@lazy_dataclass
class Command:
    """One command, for every front end.

    name: what the user types. help: a one-line summary, then, after a line break, the details.
    run: called as run(session, arguments). It returns one of `commands.values`, or `Parts` of it, and raises
        `CommandError` for the user's mistakes.
    aliases: other full names. group: the heading it is listed under.
    gdb: True if gdb gets a command of this name; another name where gdb has its own command of this one; False if the
        command can only be reached through ``monitor``.
    gdb_info: its name under gdb's own ``info``.
    changes_state: it may change the guest's registers, memory or place, so gdb must drop its caches.
    repeat: an empty line in the REPL runs it again, as gdb does after ``stepi``.
    instead: flags of the tool from which it has its name, and what to write in place of each.
    long: that tool's long names of flags, such as --pid, and the flag that each stands for.
    host: what it touches of the host with any arguments; refused to clients without that right.
    """

    name: str
    help: str
    args: tuple[Arg | Option | Clause, ...]
    run: Callable[[Any, Arguments], object]
    aliases: tuple[str, ...] = ()
    group: str = ""
    gdb: bool | str = True
    gdb_info: str = ""
    changes_state: bool = False
    repeat: bool = False
    host: Host = Host.NOTHING
    instead: Mapping[str, str] = field(default_factory=dict, hash=False)
    long: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a declaration that no line could satisfy."""
        names = [arg.name for arg in self.args]
        if len(set(names)) != len(names):
            raise ValueError(f"command {self.name}: two arguments have the same name")
        for before, after in zip(self.positional, self.positional[1:], strict=False):
            if before.many or before.rest or (before.optional and not after.optional):
                raise ValueError(f"command {self.name}: {after.name} cannot follow {before.name}")

    @property
    def positional(self) -> tuple[Arg, ...]:
        return tuple(arg for arg in self.args if isinstance(arg, Arg))

    @property
    def options(self) -> dict[str, Option]:
        return {arg.name: arg for arg in self.args if isinstance(arg, Option)}

    @property
    def flags(self) -> dict[str, Option]:
        return {arg.flag: arg for arg in self.options.values() if arg.flag}

    @property
    def clauses(self) -> dict[str, Clause]:
        return {arg.keyword: arg for arg in self.args if isinstance(arg, Clause)}

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.strip().partition("\n")[0]

    @property
    def details(self) -> str:
        """The help after its first line; empty if that is all."""
        return self.help.strip().partition("\n")[2].strip("\n")

    def is_foreign(self, words: Sequence[str]) -> bool:
        """Whether the rest of a line of these words is of another language: see `Arg`."""
        clauses = (self.clauses[word] for word in words if word in self.clauses)
        return any(arg.foreign for arg in self.positional) or any(clause.foreign for clause in clauses)

    @property
    def usage(self) -> str:
        return " ".join([self.name, *(arg.usage for arg in self.args)])

    @property
    def touches(self) -> str:
        """A sentence on what it can touch of the host; empty if nothing."""
        host = self.host
        for arg in self.args:
            host |= Host.NOTHING if isinstance(arg, Clause) else arg.host
        who = "no" if Host.SHELL in host else "not every"
        return f"It {described(host)}, which {who} debugger may do (docs/security.md)." if host else ""

    @property
    def gdb_name(self) -> str:
        """The name of its native gdb command; empty if it has none."""
        return self.gdb if isinstance(self.gdb, str) else self.name if self.gdb else ""

    @property
    def manual(self) -> CommandHelp:
        """The help, the usage and the arguments: what ``help NAME`` shows."""
        arguments = tuple(ArgumentHelp(arg.label, arg.help) for arg in self.args)
        return CommandHelp(self.name, self.summary, self.usage, self.details, arguments, self.aliases, self.touches)
