# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command is, and the registry that every front end runs and completes commands through.

A command is declared once, as a frozen `Command` whose `args` are `Arg` (found by position), `Option` (written
``name=value``) and `Clause` (the rest of the line after a word). Usage lines, help, arity checks, completion, the table
for the gdb-side proxy and the reference manual all come from that declaration, so they cannot disagree.

A line is split into words as `shlex` does in POSIX mode. A command may be shortened to any unique prefix of its
name, as GDB users expect (GDB manual, node "Command Syntax").
"""

import difflib
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from armprobe.session.authority import ANYTHING, Host, described, require

from .errors import CommandError

log = logging.getLogger("armprobe.commands")

# The registry passes the session through and never looks inside it, so any object will do: hence Any.
Out = Callable[[str], None]
Convert = Callable[[Any, str], Any]
Complete = Callable[[Any, str], Iterable[str]]


class Arguments(SimpleNamespace):
    """The converted arguments of one command line: an attribute for each `Arg` and `Option`, ``-`` written ``_``."""


def text(session: Any, word: str) -> str:
    """The word as it is (the converter an argument has unless it names another)."""
    return word


def integer(session: Any, word: str) -> int:
    """A whole number, decimal or ``0x`` hexadecimal. Raises `CommandError` for anything else."""
    try:
        return int(word, 0)
    except ValueError:
        raise CommandError(f"{word!r} is not a number: write it in decimal, or in hexadecimal after 0x") from None


def path(session: Any, word: str) -> Path:
    """A file of the host's. An argument of this type says in `host` what is done with it."""
    return Path(word)


@dataclass(frozen=True)
class Arg:
    """An argument found by its position.

    name: the attribute handlers read; usage shows it in capitals.
    type: converter from (session, word) to the value; raises `CommandError` for a bad word.
    optional: may be left out; the value is then `default`. Only optional arguments may follow an optional one.
    many: takes all the words that are left (at least one unless optional), giving a tuple. Must be the last.
    rest: takes what is left of the line verbatim, quotes included, as one word. Must be the last.
    choices: the only words allowed, if any are named.
    complete: candidates from (session, the word so far); those that do not begin with that word are dropped.
    host: what of the host the command touches if the value is a `Path`; it is refused to clients who may not.
    """

    name: str
    help: str
    type: Convert = text
    host: Host = Host.NOTHING
    optional: bool = False
    many: bool = False
    rest: bool = False
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


@dataclass(frozen=True)
class Option:
    """An argument written ``name=value``, anywhere after the command's name; always optional.

    many: the value is a comma-separated list, given to the handler as a tuple (empty if the option is absent).
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

    @property
    def usage(self) -> str:
        return f"[{self.name}={'|'.join(self.choices) or self.name.upper()}{',...' if self.many else ''}]"

    @property
    def label(self) -> str:
        return f"{self.name}="


@dataclass(frozen=True)
class Clause:
    """An argument that a word of its own begins, behind all others: gdb's ``break f if x > 1``; always optional.

    keyword: that word. The value is what is left of the line after it, verbatim, or what there is before the keyword of
        another; None if the word is not there.
    name, help and complete are those of `Arg`.
    """

    keyword: str
    name: str
    help: str
    complete: Complete | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    default: None = None

    @property
    def usage(self) -> str:
        return f"[{self.label}]"

    @property
    def label(self) -> str:
        return f"{self.keyword} {self.name.upper()}"


@dataclass(frozen=True)
class Command:
    """One command, for every front end.

    name: what is typed. help: a one-line summary, then, after a line break, whatever else is worth saying.
    run: called as run(session, arguments, out). It writes text, line ends included, to `out`, and raises
        `CommandError` for the user's mistakes.
    aliases: other full names. group: the heading it is listed under.
    gdb: True if gdb gets a command of this name; another name if gdb has its own command of this one; False if it
        is to be had only through ``monitor``.
    gdb_info: what gdb's own ``info`` also has it under.
    changes_state: it may change the guest's registers, memory or place, so gdb must drop what it has cached.
    repeat: an empty line in the REPL runs it again, as gdb does after ``stepi``.
    host: what of the host it touches whatever its arguments are, and is refused for to clients who may not.
    """

    name: str
    help: str
    args: tuple[Arg | Option | Clause, ...]
    run: Callable[[Any, Arguments, Out], None]
    aliases: tuple[str, ...] = ()
    group: str = ""
    gdb: bool | str = True
    gdb_info: str = ""
    changes_state: bool = False
    repeat: bool = False
    host: Host = Host.NOTHING

    def __post_init__(self) -> None:
        """Raises ValueError for a declaration no line could be parsed by."""
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

    @property
    def usage(self) -> str:
        return " ".join([self.name, *(arg.usage for arg in self.args)])

    @property
    def touches(self) -> str:
        """What of the host it can touch, in a sentence; empty if nothing."""
        host = self.host
        for arg in self.args:
            host |= Host.NOTHING if isinstance(arg, Clause) else arg.host
        return f"It {described(host)}, and so is not for every debugger (docs/security.md)." if host else ""

    @property
    def gdb_name(self) -> str:
        """The name of its native gdb command; empty if it has none."""
        return self.gdb if isinstance(self.gdb, str) else self.name if self.gdb else ""

    @property
    def manual(self) -> str:
        """The help, the usage, and a line for each argument: what ``help NAME`` shows."""
        lines = [self.summary, f"Usage: {self.usage}"]
        if self.details:
            lines += ["", self.details]
        if self.args:
            width = max(len(arg.label) for arg in self.args)
            lines += ["", *(f"  {arg.label:<{width}}  {arg.help}" for arg in self.args)]
        if self.aliases:
            lines += ["", f"Also: {', '.join(self.aliases)}"]
        if self.touches:
            lines += ["", self.touches]
        return "\n".join(lines) + "\n"

    def parse(self, session: Any, line: str, words: Sequence["Word"]) -> Arguments:
        """Convert the words after the command's name. Raises `CommandError`, naming the argument and the usage."""
        values: dict[str, Any] = {}
        waiting = list(self.positional)
        for word in words:
            key, equals, value = word.text.partition("=")
            option = self.options.get(key) if equals else None
            if word.text in self.clauses:
                values |= self._clauses(
                    line, [w.start for w in words if w.start >= word.start and w.text in self.clauses]
                )
                break
            if option:
                if key in values:
                    raise CommandError(f"{key}= is given twice")
                values[key] = _convert_option(session, option, value)
            elif not waiting:
                raise CommandError(self._left_over(word.text))
            elif waiting[0].rest:
                arg = waiting.pop(0)
                values[arg.name] = _convert(session, arg, line[word.start :].strip())
                break
            elif waiting[0].many:
                values[waiting[0].name] = (*values.get(waiting[0].name, ()), _convert(session, waiting[0], word.text))
            else:
                arg = waiting.pop(0)
                values[arg.name] = _convert(session, arg, word.text)
        for arg in waiting:
            if not arg.optional and arg.name not in values:
                raise CommandError(f"{self.name} needs {arg.label} ({arg.help}); usage: {self.usage}")
        return Arguments(**{a.name.replace("-", "_"): values.get(a.name, _default(a)) for a in self.args})

    def _clauses(self, line: str, starts: Sequence[int]) -> dict[str, str]:
        """The values of the clauses whose keywords are at `starts`."""
        values: dict[str, str] = {}
        for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
            keyword = line[start:end].split(maxsplit=1)[0]
            clause, text = self.clauses[keyword], line[start + len(keyword) : end].strip()
            if not text:
                raise CommandError(f"after {keyword} there is nothing ({clause.help}); usage: {self.usage}")
            if clause.name in values:
                raise CommandError(f"{keyword} is given twice")
            values[clause.name] = text
        return values

    def _left_over(self, word: str) -> str:
        if re.match(r"[\w-]+=", word) and self.options:
            return f"{self.name} has no option {word.partition('=')[0]}=; usage: {self.usage}"
        return f"{self.name} does not know what to do with {word!r}; usage: {self.usage}"


class Word(NamedTuple):
    """A word of a line without its quotes, and the index in the line at which it starts."""

    text: str
    start: int


def split(line: str) -> list[Word]:
    """Split a line into words as `shlex` does. Raises `CommandError` if a quote is left open."""
    source = StringIO(line)
    lexer = shlex.shlex(source, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[Word] = []
    while True:
        start = source.tell()
        try:
            word = lexer.get_token()
        except ValueError as error:
            quote = "a backslash ends the line" if "escaped" in str(error) else "a quote is opened and never closed"
            raise CommandError(f"{quote}: {line[start:].strip()}") from None
        if word is None:
            return words
        while line[start].isspace():
            start += 1
        words.append(Word(word, start))


def split_for_completion(line: str) -> list[Word]:
    """The words of a line that is still being typed; the last one is the word at its end, which may be empty."""
    for closer in ("", '"', "'"):
        try:
            *before, last = split(f"{line}\0{closer}")
        except CommandError:
            continue
        return [*before, Word(last.text[:-1], last.start)]
    return [Word("", len(line))]  # the line ends in a backslash: nothing can be known of the word


class Registry:
    """The commands of a session, by name. It adds ``help``, which is about the registry itself."""

    def __init__(self, commands: Iterable[Command]) -> None:
        """Raises ValueError if two commands claim one name or alias."""
        self.commands = tuple(commands)
        self._help = Command(
            "help",
            "Show what a command does, or list them all.",
            (Arg("command", "the command to explain", optional=True, complete=lambda _session, _word: self.names),),
            self._run_help,
            aliases=("?",),
            gdb=False,
        )
        self._by_name: dict[str, Command] = {}
        for command in (*self.commands, self._help):
            for name in (command.name, *command.aliases):
                if name in self._by_name:
                    raise ValueError(f"two commands are called {name}")
                self._by_name[name] = command

    @property
    def names(self) -> list[str]:
        """The names of all commands, sorted; aliases are left out."""
        return sorted({command.name for command in self._by_name.values()})

    def find(self, name: str) -> Command:
        """The command of this name, alias or unique prefix of either. Raises `CommandError`."""
        if name in self._by_name:
            return self._by_name[name]
        found = {command.name: command for known, command in self._by_name.items() if known.startswith(name)}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise CommandError(f"{name!r} could be {' or '.join(sorted(found))}: type more of it")
        near = difflib.get_close_matches(name, self._by_name)
        hint = f"did you mean {' or '.join(near)}?" if near else "help lists the commands"
        raise CommandError(f"there is no command {name!r}; {hint}")

    def run(self, session: Any, line: str, out: Out) -> None:
        """Run one line; a blank line or a comment (``#`` first) does nothing. Raises `CommandError`."""
        if line.lstrip().startswith("#"):
            return
        words = split(line)
        if words:
            command = self.find(words[0].text)
            require(command.host, command.name)
            command.run(session, command.parse(session, line, words[1:]), out)

    def complete(self, session: Any, line: str) -> list[str]:
        """Candidates for the last word of the line, each a whole word quoted as needed; the word may be empty.

        `split_for_completion(line)[-1].start` is where a candidate goes. Never raises for what has been typed.
        """
        *before, word = split_for_completion(line)
        if not before:
            names = {name for name in self._by_name if word.text or name == self._by_name[name].name}
            candidates = list(names)
        else:
            try:
                command = self.find(before[0].text)
                candidates = _candidates(session, command, [w.text for w in before[1:]], word.text)
            except CommandError:
                return []
            except Exception:  # a key that completes nothing beats a prompt that ends
                log.debug("completing %r failed", line, exc_info=True)
                return []
        return sorted({_quote(each) for each in candidates if each.startswith(word.text)})

    def table(self) -> str:
        """The commands as JSON, for the gdb-side proxy: a list of objects.

        Keys: name, summary, usage, help (texts), gdb (native under its own name?), gdb_name (its native name, empty
        if none), gdb_info (its name after gdb's info, likewise), changes_state (see `Command`), condition (may its
        line end in ``if CONDITION``?).
        """
        return json.dumps(
            [
                {
                    "name": command.name,
                    "summary": command.summary,
                    "usage": command.usage,
                    "help": command.manual,
                    "gdb": command.gdb_name == command.name,
                    "gdb_name": command.gdb_name,
                    "gdb_info": command.gdb_info,
                    "changes_state": command.changes_state,
                    "condition": "if" in command.clauses,
                    "repeat": command.repeat,
                }
                for command in (*self.commands, self._help)
            ]
        )

    def grouped(self) -> list[tuple[str, list[Command]]]:
        """The commands under their groups, in the order of declaration of each group's first command."""
        everything = (*self.commands, self._help)
        order = {group: place for place, group in reversed(list(enumerate(c.group for c in everything)))}
        ordered = sorted(everything, key=lambda command: order[command.group])
        return [(group, list(members)) for group, members in groupby(ordered, key=lambda command: command.group)]

    def _run_help(self, session: Any, arguments: Arguments, out: Out) -> None:
        if arguments.command:
            out(self.find(arguments.command).manual)
            return
        width = max(map(len, self.names))
        for group, commands in self.grouped():
            if group:
                out(f"{group}\n")
            for command in commands:
                out(f"  {command.name:<{width}}  {command.summary}\n")
        out("help COMMAND says more; a command may be shortened as long as it stays unique.\n")


def _convert(session: Any, arg: Arg | Option, word: str) -> Any:
    if arg.choices and word not in arg.choices:
        raise CommandError(f"{arg.label} cannot be {word!r}: choose from {', '.join(arg.choices)}")
    value = arg.type(session, word)
    if isinstance(value, Path):
        require(arg.host or ANYTHING, f"with {arg.label} {word!r} this command")
    return value


def _convert_option(session: Any, option: Option, value: str) -> Any:
    if not value:
        raise CommandError(f"{option.name}= needs a value ({option.help})")
    if option.many:
        return tuple(_convert(session, option, word) for word in value.split(","))
    return _convert(session, option, value)


def _default(arg: Arg | Option | Clause) -> Any:
    return () if arg.many and arg.default is None else arg.default


def _candidates(session: Any, command: Command, before: Sequence[str], word: str) -> list[str]:
    """Everything that could stand where `word` is, given the argument words before it."""
    key, equals, value = word.partition("=")
    if equals and key in command.options:
        option = command.options[key]
        done, comma, partial = value.rpartition(",") if option.many else ("", "", value)
        values = set(_values(session, option, partial)) - set(done.split(","))
        return [f"{key}={done}{comma}{each}" for each in values]
    given = [text for text in before if text in command.clauses]
    if given:
        return [*_values(session, command.clauses[given[-1]], word), *(command.clauses.keys() - set(given))]
    used = [text for text in before if "=" in text and text.partition("=")[0] in command.options]
    candidates = [f"{name}=" for name in command.options if not any(text.startswith(f"{name}=") for text in used)]
    candidates += command.clauses if before else ()
    args, place = command.positional, len(before) - len(used)
    if place < len(args):
        candidates += _values(session, args[place], word)
    elif args and (args[-1].many or args[-1].rest):
        candidates += _values(session, args[-1], word)
    return candidates


def _values(session: Any, arg: Arg | Option | Clause, word: str) -> Iterable[str]:
    return arg.choices or (arg.complete(session, word) if arg.complete else ())


def _quote(word: str) -> str:
    """Quote what `split` would take apart, and nothing else: ``$``, ``%``, ``*`` mean nothing to it."""
    return shlex.quote(word) if re.search(r"[\s'\"\\]", word) else word
