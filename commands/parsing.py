# SPDX-License-Identifier: GPL-2.0-or-later
"""A command line as words, and those words as the arguments of a command.

A line that is a string is split into words as `shlex` does in POSIX mode. A line may also be a list of words, which
are taken as they are, like the arguments of `subprocess.run`.
"""

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from armprobe.machine.similar_names import did_you_mean
from armprobe.session.authority import ANYTHING, Host, require

from .declaration import Arg, Arguments, Clause, Command, Option
from .errors import CommandError

Line: TypeAlias = str | Sequence[str]
"""A command line: as a user types it, or its words."""

_LIKE: Final = 0.7  # how like a keyword a word has to be: many short words are somewhat like one


class Word(NamedTuple):
    """A word of a line without its quotes, and the index in the line at which it starts."""

    text: str
    start: int


def is_blank(line: Line) -> bool:
    """Whether a line has no command: it is empty, or a comment (``#`` first)."""
    if isinstance(line, str):
        return not line.strip() or line.lstrip().startswith("#")
    return not line


def without_comment(line: str) -> str:
    """The line up to a ``#`` that begins a word outside quotes. A line whose quotes do not match stays as it is."""
    if "#" not in line:
        return line
    with contextlib.suppress(CommandError):
        return next((line[: word.start] for word in split(line) if line.startswith("#", word.start)), line)
    return line


def expanded(text: str) -> str:
    """`text` with the values of environment variables in place of ``${NAME}``. Raises `CommandError`.

    Commands of a debugger that may read nothing of this computer see none of them.
    """

    def value(match: re.Match[str]) -> str:
        require(Host.READS_FILES, match[0])
        found = os.environ.get(match[1])
        if found is None:
            raise CommandError(f"there is no environment variable {match[1]}")
        return found

    return re.sub(r"\$\{(\w+)\}", value, text, flags=re.ASCII)


_COMMAND = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^;])+""", re.DOTALL)


def pieces(line: str) -> Iterator[tuple[str, str]]:
    """The parts of a line between ``;`` outside quotes, each with the line from its beginning on. Blank ones are left
    out."""
    for match in _COMMAND.finditer(line):
        if match[0].strip():
            yield match[0], line[match.start() :]


def as_text(line: Line) -> str:
    """A line as a user would type it."""
    return line.strip() if isinstance(line, str) else shlex.join(line)


def words_of(line: Line) -> tuple[str, list[Word]]:
    """The text of a line, and its words with their places in it. Raises `CommandError` if a quote is left open."""
    if isinstance(line, str):
        return line, split(line)
    starts = accumulate((len(word) + 1 for word in line), initial=0)
    return " ".join(line), [Word(word, start) for word, start in zip(line, starts, strict=False)]


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
    """The words of an unfinished line; the last one is the word at its end, which may be empty."""
    for closer in ("", '"', "'"):
        try:
            *before, last = split(f"{line}\0{closer}")
        except CommandError:
            continue
        return [*before, Word(last.text[:-1], last.start)]
    return [Word("", len(line))]  # the line ends in a backslash: nothing can be known of the word


def parse(command: Command, session: Any, line: str, words: Sequence[Word]) -> Arguments:
    """Convert the words after the command's name. Raises `CommandError`, naming the argument and the usage."""
    values: dict[str, Any] = {}
    words = [each for word in words for each in _shortened(command, word)]
    waiting, following = list(command.positional), iter(words)
    for word in following:
        key, equals, value = word.text.partition("=")
        option = command.options.get(key) if equals else None
        if _has_flags(command, word.text, waiting):
            _put_flags(command, session, word.text, following, values)
        elif word.text in command.clauses:
            starts = [w.start for w in words if w.start >= word.start and w.text in command.clauses]
            _clauses(command, session, line, words, starts, values)
            break
        elif option:
            _put_option(session, option, value, values)
        elif not waiting or (command.long and word.text.startswith("--")):
            raise CommandError(_left_over(command, word.text))
        elif waiting[0].rest:
            arg = waiting.pop(0)
            starts = [w.start for w in words if w.start > word.start and w.text in command.clauses]
            end = min(starts, default=len(line))
            if not arg.verbatim:
                end = _options_behind(command, session, words, word.start, end, values)
            values[arg.name] = _convert(session, arg, line[word.start : end].strip())
            _clauses(command, session, line, words, starts, values)
            break
        elif waiting[0].many:
            values[waiting[0].name] = (*values.get(waiting[0].name, ()), _convert(session, waiting[0], word.text))
        else:
            arg = waiting.pop(0)
            values[arg.name] = _convert(session, arg, word.text)
    for arg in waiting:
        if not arg.optional and arg.name not in values:
            raise CommandError(f"{command.name} needs {arg.label} ({arg.help}); usage: {command.usage}")
    return Arguments(**{a.name.replace("-", "_"): values.get(a.name, _default(a)) for a in command.args})


def _clauses(
    command: Command,
    session: Any,
    line: str,
    words: Sequence[Word],
    starts: Sequence[int],
    values: dict[str, Any],
) -> None:
    """Put the values of the clauses whose keywords are at `starts`, and of options behind one, into `values`."""
    for number, start in enumerate(starts):
        if command.clauses[line[start:].split(maxsplit=1)[0]].last:
            starts = starts[: number + 1]
            break
    for start, end in pairwise([*starts, len(line)]):
        keyword = line[start:end].split(maxsplit=1)[0]
        clause = command.clauses[keyword]
        if not clause.last:
            end = _options_behind(command, session, words, start, end, values)
        text = line[start + len(keyword) : end].strip()
        if not text:
            raise CommandError(
                f"{keyword} needs {clause.name.upper()} after it ({clause.help}); usage: {command.usage}"
            )
        if clause.name in values:
            raise CommandError(f"{keyword} is given twice")
        values[clause.name] = text


def _options_behind(
    command: Command, session: Any, words: Sequence[Word], start: int, end: int, values: dict[str, Any]
) -> int:
    """Put options that are the last words between `start` and `end` into `values`; where what is before them ends."""
    for word in reversed([w for w in words if start < w.start < end]):
        key, _, value = word.text.partition("=")
        if key not in command.options or value[:1] in ("", "="):
            break
        _put_option(session, command.options[key], value, values)
        end = word.start
    return end


def _shortened(command: Command, word: Word) -> Iterator[Word]:
    """A long name as the flag that it stands for; --name=VALUE as two words."""
    name, equals, value = word.text.partition("=")
    if name not in command.long:
        yield word
        return
    yield Word(command.long[name], word.start)
    if equals:
        yield Word(value, word.start + len(name + equals))


def _has_flags(command: Command, word: str, waiting: Sequence[Arg]) -> bool:
    """Whether a word begins with a flag. Where an expression may come, it has to be one flag alone."""
    if word[:2] not in command.flags and word[:2] not in command.instead:
        return False
    return len(word) == 2 or not (waiting and waiting[0].rest)


def _put_flags(command: Command, session: Any, word: str, following: Iterator[Word], values: dict[str, Any]) -> None:
    """Put the options of a word such as -d, -d5 or -fD into `values`. A value is the rest of it, or the next word.

    Raises CommandError, which says what to write in place of each flag that the command does not have.
    """
    letters, missing = word[1:], []
    while letters:
        flag, rest = f"-{letters[0]}", letters[1:]
        option = command.flags.get(flag)
        if option is not None and option.choices:
            _put_option(session, option, option.choices[0], values)
        elif option is not None:
            _put_option(session, option, rest or next(following, Word("", 0)).text, values)
            rest = ""
        elif flag in command.instead:
            missing.append(f"no {flag}: {command.instead[flag]}")
        elif missing:
            break  # it is the value of that flag
        else:
            raise CommandError(_left_over(command, word))
        letters = rest
    if missing:
        raise CommandError(f"{command.name} has {'; '.join(missing)}")


def _put_option(session: Any, option: Option, value: str, values: dict[str, Any]) -> None:
    if option.name in values:
        raise CommandError(f"{option.name}= is given twice")
    values[option.name] = _convert_option(session, option, value)


def keywords(command: Command) -> list[str]:
    """The words that a user writes before values: if, while, stop=."""
    return [*command.clauses, *(option.label for option in command.options.values())]


def unexpected(command: Command, text: str) -> str:
    """What is added to the error for an expression that goes on with `text`, which no expression does."""
    found = re.match(r"[\w-]+(?:=(?!=))?", text)
    word = "" if found is None else found[0]
    if word.endswith("=") and word not in keywords(command):
        return did_you_mean(word, keywords(command)) or f"{command.name} has no option {word}"
    return did_you_mean(word, keywords(command), least=_LIKE)


def _left_over(command: Command, word: str) -> str:
    key, equals, _ = word.partition("=")
    unknown = f"{command.name} does not know what to do with {word!r}"
    if re.match(r"[\w-]+=", word) and command.options:
        unknown = f"{command.name} has no option {key}="
    return unknown + (did_you_mean(key + equals, keywords(command), least=_LIKE) or f"; usage: {command.usage}")


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
