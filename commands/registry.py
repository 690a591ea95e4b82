# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry that every front end runs and completes commands through.

A command may be shortened to any unique prefix of its name, as GDB users expect (GDB manual, node "Command Syntax").
"""

import contextlib
import json
import logging
import re
import shlex
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import Any, Final, NamedTuple, Self

from armprobe.expressions.errors import Unexpected
from armprobe.machine.similar_names import did_you_mean
from armprobe.session.authority import Host, require

from .declaration import Arg, Arguments, Clause, Command, Option, Parts
from .errors import CommandError
from .gdb_words import GDB_WORDS
from .parsing import (
    Line,
    Word,
    expanded,
    is_blank,
    parse,
    pieces,
    split,
    split_for_completion,
    unexpected,
    without_comment,
    words_of,
)
from .render.help import command_help
from .subjects import about, nearest
from .values import CommandHelp, CommandList, CommandsFound, CommandSummary

log = logging.getLogger("armprobe.commands")

Show = Callable[[object], None]

_FOUND: Final = 12  # commands that are about a word
_RELATED: Final = 6
_LIKE: Final = 50  # candidates
_OF_BPFTRACE: Final = re.compile(
    r"(?:kprobe|k|kretprobe|kr|fentry|kfunc|f|fexit|kretfunc|fr|tracepoint|t|rawtracepoint|rt|uprobe|u|uretprobe|ur|usdt|U"
    r"|profile|p|interval|i|software|s|hardware|h|watchpoint|w):|BEGIN\b|END\b"
)
"""What a program begins with (man bpftrace, "Probes")."""


class Listed(NamedTuple):
    """A command by its names. `read` returns the command, whose file it may have to import first."""

    name: str
    aliases: tuple[str, ...]
    read: Callable[[], Command]

    @classmethod
    def of(cls, command: Command) -> Self:
        return cls(command.name, command.aliases, lambda: command)


class Registry:
    """The commands of a session, by name. It adds ``help``, which is about the registry itself."""

    def __init__(self, commands: Iterable[Command | Listed]) -> None:
        """Raises ValueError if two commands claim one name or alias."""
        self.listed = tuple(each if isinstance(each, Listed) else Listed.of(each) for each in commands)
        self._help = Command(
            "help",
            "Explain a command, or list all commands.",
            (
                Arg(
                    "command",
                    "command to explain",
                    optional=True,
                    rest=True,
                    complete=lambda _session, _word: self.names,
                ),
            ),
            self._run_help,
            aliases=("?", "h"),
            gdb=False,
        )
        self._by_name: dict[str, Listed] = {}
        for listed in (*self.listed, Listed.of(self._help)):
            for name in (listed.name, *listed.aliases):
                if name in self._by_name:
                    raise ValueError(f"two commands are called {name}")
                self._by_name[name] = listed
        self._aliases: dict[str, str] = {}

    def alias(self, name: str, line: str) -> None:
        """Have the word `name`, at the start of a line, stand for `line`. Raises `CommandError`.

        It cannot take the place of a command, and what it stands for begins with one.
        """
        if name in self._by_name:
            raise CommandError(f"the alias {name!r} is the name of a command: choose another")
        words = split(line)
        if not words or words[0].text in self._aliases:
            raise CommandError(f"the alias {name!r} has to stand for a line that begins with a command")
        for command in self.commands_in(line):
            if Host.SHELL in self.find(split(self._expanded(str(command)))[0].text).host:
                raise CommandError(f"the alias {name!r} may not stand for a command of this computer's shell")
        self._aliases[name] = line

    def commands_in(self, line: Line) -> list[Line]:
        """The commands of a line: they have a ``;`` outside quotes between them. A list of words is one command.

        What an alias stands for may be several. Where the rest of the line is of another language, it is one command's.
        """
        if not isinstance(line, str) or ";" not in without_comment(self._expanded(line)):
            return [line]
        found: list[Line] = []
        for piece, rest in pieces(without_comment(self._expanded(line))):
            words = self._expanded(piece).split()
            with contextlib.suppress(CommandError):  # which running it raises
                if self.named(words)[0].is_foreign(words):
                    return [*found, rest]
            found += self.commands_in(piece) if words and piece.split()[0] in self._aliases else [piece]
        return found

    def _expanded(self, line: str) -> str:
        """The line with what an alias at its beginning stands for; x/8i becomes x /8i, and !ls shell ls."""
        word, rest = re.fullmatch(r"\s*([^\s;]*)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        if word in self._aliases:
            return self._aliases[word] + rest
        if word.startswith("!"):
            return f"shell {word[1:]}{rest}"
        name, slash, form = word.partition("/")
        return f"{name} /{form}{rest}" if name and slash else line

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The commands in the order of their declaration, without ``help``."""
        return tuple(listed.read() for listed in self.listed)

    @property
    def everything(self) -> tuple[Command, ...]:
        """The commands in the order of their declaration, then ``help``."""
        return (*self.commands, self._help)

    @property
    def names(self) -> list[str]:
        """The names of all commands, sorted; aliases are left out."""
        return sorted({listed.name for listed in self._by_name.values()})

    def find(self, name: str) -> Command:
        """The command of this name, alias or unique prefix of either. Raises `CommandError`."""
        if name in self._by_name:
            return self._by_name[name].read()
        if name in self._aliases:
            name = split(self._aliases[name])[0].text
            return self.find(name)
        single = ((known, listed) for known, listed in self._by_name.items() if " " not in known)
        found = {listed.name: listed for known, listed in single if known.startswith(name)}
        if len(found) == 1:
            return next(iter(found.values())).read()
        if found:
            raise CommandError(f"{name!r} could be {' or '.join(sorted(found))}: type more of it")
        if _OF_BPFTRACE.match(name):
            raise CommandError(
                f"{name!r} begins a program of bpftrace, which is not understood: count, hist, latency, stacks and "
                'kprobe FUNCTION print "FORMAT", VALUE ask such questions'
            )
        if name in GDB_WORDS:
            raise CommandError(f"there is no command {name!r} as in gdb: {GDB_WORDS[name]}")
        hint = did_you_mean(name, self._by_name) or "; help lists the commands"
        raise CommandError(f"there is no command {name!r}{hint}")

    def named(self, words: Sequence[str]) -> tuple[Command, int]:
        """The command that a line of these words is for, and how many of them are its name. Raises `CommandError`.

        A name may have two words, such as "trace save". The first is then a command of its own, which may be shortened.
        """
        command = self.find(words[0])
        longer = self._by_name.get(f"{command.name} {words[1]}") if len(words) > 1 else None
        return (command, 1) if longer is None else (longer.read(), 2)

    def run(self, session: Any, line: Line, show: Show) -> object:
        """Run one line and return its value; a blank line or a comment (``#`` first) does nothing.

        `show` is given the value, or its parts as they come; it may raise. Raises `CommandError`.
        """
        if isinstance(line, str):
            line = without_comment(self._expanded(line))
        if is_blank(line):
            return None
        text, words = words_of(line)
        if isinstance(line, str) and "${" in line:
            words = [Word(expanded(word.text), word.start) for word in words]
        command, own = self.named([word.text for word in words])
        require(command.host, command.name)
        try:
            answer = command.run(session, parse(command, session, text, words[own:]))
        except CommandError as error:
            if error.value is not None:
                show(error.value)
            if meant := self._meant(command, [word.text for word in words], error):
                raise CommandError(f"{error}; {meant}", error.value, error.excerpt) from error
            raise
        if isinstance(answer, Generator):
            return _whole(answer, show)
        show(answer)
        return answer

    def _meant(self, command: Command, words: Sequence[str], error: CommandError) -> str:
        """What is added to an error for a word that may have been meant for a keyword, or for a longer name."""
        meant = ""
        if isinstance(error.__cause__, Unexpected):
            meant = unexpected(command, error.__cause__.text[error.__cause__.column :])
        elif len(words) > 1:
            longer = [name for name in self._by_name if name.startswith(f"{command.name} ")]
            meant = did_you_mean(f"{command.name} {words[1]}", longer, 1, 0.85)
        return meant.removeprefix(": ")

    def complete(self, session: Any, line: str, like: bool = False) -> list[str]:
        """Candidates for the last word of the line, each a whole word quoted as needed; the word may be empty.

        They begin with it, or with `like` have its letters in their order, the nearest first, at most 50.
        `split_for_completion(line)[-1].start` is where a candidate goes. Never raises for what has been typed.
        """
        if len(split_for_completion(line)) > 1:
            line = self._expanded(line)
        *before, word = split_for_completion(line)
        if not before:
            names = {name for name in self._by_name if word.text or name == self._by_name[name].name}
            candidates = [*(name for name in names if " " not in name), *self._aliases]
        else:
            try:
                command, own = self.named([w.text for w in before])
                candidates = _candidates(session, command, [w.text for w in before[own:]], word.text)
                if len(before) == 1:
                    longer = (name.removeprefix(f"{command.name} ") for name in self._by_name if " " in name)
                    candidates += (name for name in longer if " " not in name)
            except CommandError:
                return []
            except Exception:  # a key that completes nothing beats a prompt that ends
                log.debug("completing %r failed", line, exc_info=True)
                return []
        if like:
            return [_quote(each) for each in nearest(set(candidates), word.text)[:_LIKE]]
        return sorted({_quote(each) for each in candidates if each.startswith(word.text)})

    def described(self, line: str, candidate: str) -> str:
        """What a candidate for the last word of the line is, in one sentence; empty for names of the guest's."""
        words = [word.text for word in split_for_completion(line)]
        with contextlib.suppress(CommandError):
            if len(words) == 1:
                return self._aliases.get(candidate) or self.find(candidate).summary
            command, own = self.named([*words[:-1], candidate])
            if own == len(words):
                return command.summary
            declared = {option.label: option for option in command.options.values()}
            found = declared.get(candidate) or command.clauses.get(candidate)
            return found.help if found else ""
        return ""

    def table(self) -> str:
        """The commands as JSON, for the gdb-side proxy: a list of objects.

        Keys: name, summary, usage, help (texts), gdb (native under its own name?), gdb_name (its native name, empty
        if none), gdb_info (its name after gdb's info, empty if none), changes_state (see `Command`), condition (may gdb
        compile the ``if CONDITION`` in its line?), place (is its first argument a place, which may be gdb's linespec?).
        """
        names = {command.name: command.gdb_name for command in self.commands if command.gdb_name}
        return json.dumps(
            [
                {
                    "name": command.name,
                    "summary": command.summary,
                    "usage": command.usage,
                    "help": _for_gdb(command_help(command.manual, _WIDTH_IN_GDB), names),
                    "gdb": command.gdb_name == command.name,
                    "gdb_name": command.gdb_name,
                    "gdb_info": command.gdb_info,
                    "changes_state": command.changes_state,
                    "condition": "code" in command.options,
                    "place": any(arg.name in ("place", "function") for arg in command.positional[:1]),
                    "repeat": command.repeat,
                }
                for command in self.everything
            ]
        )

    def grouped(self) -> list[tuple[str, list[Command]]]:
        """The commands under their groups, in the order of declaration of each group's first command."""
        order = {group: place for place, group in reversed(list(enumerate(c.group for c in self.everything)))}
        ordered = sorted(self.everything, key=lambda command: order[command.group])
        return [(group, list(members)) for group, members in groupby(ordered, key=lambda command: command.group)]

    def _run_help(self, session: Any, arguments: Arguments) -> CommandHelp | CommandList | CommandsFound:
        if arguments.command:
            return self._explained(arguments.command.split())
        return CommandList(
            CommandSummary(group, command.name, command.summary)
            for group, commands in self.grouped()
            for command in commands
        )

    def _explained(self, words: Sequence[str]) -> CommandHelp | CommandsFound:
        """The help of the command of this name, or else of the commands that are about these words."""
        found = about(self.everything, words)
        try:
            command = self.named(words)[0]
        except CommandError:
            if not found:
                raise
            return CommandsFound(CommandSummary(each.group, each.name, each.summary) for each in found[:_FOUND])
        related = tuple(each.name for each in found if each is not command)[:_RELATED]
        return replace(command.manual, related=related)


_WIDTH_IN_GDB: Final = 72  # columns: gdb's own help fits 80 (its manual, "Screen Size"), and names may be longer there
_CONDITION = re.compile(r"^( {4}kprobe .* if )(.*?)( print .*)?$", re.MULTILINE)
_REGISTER = re.compile(r"(?<![\w$.>])(?:[xw]\d+|sp|pc)\b")


def _for_gdb(text: str, names: Mapping[str, str]) -> str:
    """Help with gdb's names of commands, where they are used as commands, and of registers in its conditions."""
    if others := "|".join(re.escape(name) for name, in_gdb in names.items() if name != in_gdb):
        place = rf"(?m)(^ {{4}}|^Usage: |\bcommands?\s+|\band\s+)?\b({others})\b(?(1)(?!\s+with)|(?=\s+shows?\b))"
        text = re.sub(place, lambda found: (found[1] or "") + names[found[2]], text)
    return _CONDITION.sub(lambda found: found[1] + _REGISTER.sub(r"$\g<0>", found[2]) + (found[3] or ""), text)


def _whole(parts: Parts[object], show: Show) -> object:
    """Show the parts of an answer as they come; the whole answer."""
    with contextlib.closing(parts):
        while True:
            try:
                part = next(parts)
            except StopIteration as end:
                return end.value
            show(part)


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
