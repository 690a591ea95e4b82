# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters of events: the grammar, the checks and the answers of kernel/trace/trace_events_filter.c of v6.1."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from armprobe.machine.lazy_dataclass import lazy_dataclass

from . import c_text as c
from .errors import EventError
from .filter_fields import DeclaredField, FilterField, Values, filter_fields
from .predicate import Predicate, parse_predicate

PAGE_SIZE = 4096


@dataclass
class _Entry:
    """A predicate of the program, and where the program goes on when it is `branch_if` (struct prog_entry).

    Both are those of the labels while the text is read, see the comment at predicate_parse().
    """

    predicate: Predicate
    inverted: bool
    target: int
    branch_if: bool = False


@lazy_dataclass
class Step:
    """A predicate of a filter: if it is `branch_if`, the filter goes on at `target`, else with the next one.

    The target of the last is the number of steps, where the filter has passed, or one more, where it has not.
    """

    predicate: Predicate
    branch_if: bool
    target: int


@lazy_dataclass
class Filter:
    """A filter of an event.

    `text` is what the event's `filter` file shows.
    """

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str, fields: Iterable[DeclaredField]) -> Filter:
        """The filter that is written as `text` for an event with `fields`. Raises EventError, as the kernel refuses."""
        return parse_filter(text, filter_fields(fields))

    def matches(self, values: Values) -> bool:
        """Whether a hit passes (filter_match_preds())."""
        at = 0
        while at < len(self.steps):
            step = self.steps[at]
            at = step.target if step.predicate.holds(values) == step.branch_if else at + 1
        return at == len(self.steps)


def parse_filter(text: str, fields: Mapping[str, FilterField]) -> Filter:
    """The filter that is written as `text`. Raises EventError: `column` is where the kernel's error_log has it."""
    if len(text.encode("utf-8", "surrogateescape")) >= PAGE_SIZE:
        raise EventError(errno.EINVAL, f"the filter is longer than {PAGE_SIZE - 1} bytes")
    source = c.strip_right(c.c_text(text))
    return Filter(c.user_text(source), _Parser(source, fields).steps())


def filter_file(error: EventError) -> str:
    """What the `filter` file of an event shows after a filter was refused, without the newline at its end.

    The event has no filter then (append_filter_err()).
    """
    if error.command is None or error.column is None:
        return "none"
    if error.message == "Error":
        return f"{error.command}\nError: (0)"
    column = min(error.column, len(error.command.encode("utf-8", "surrogateescape")))
    return f"{error.command}\n{'^':>{column + (column > 0)}}\nparse_error: {error.message}"


class _Parser:
    """Reads one filter."""

    def __init__(self, source: str, fields: Mapping[str, FilterField]) -> None:
        self._source = source
        self._fields = fields

    def steps(self) -> tuple[Step, ...]:
        """The program of the filter. Raises EventError."""
        if not self._count():
            self._refuse(errno.EINVAL, "Error", 0)
        entries = self._entries()
        last = len(entries)
        entries[-1].target, entries[-1].branch_if = last, False
        for index in range(last - 2, -1, -1):  # a jump to a label of the same condition goes where that one goes
            entry = entries[index]
            if entry.branch_if == entries[entry.target].branch_if:
                entry.target = entries[entry.target].target
        return tuple(Step(each.predicate, each.inverted ^ each.branch_if, each.target + 1) for each in entries)

    def _refuse(self, number: int, message: str, column: int) -> NoReturn:
        command = c.user_text(self._source)
        if message == "Error":
            raise EventError(number, f"the name of a field is missing in '{command}'", message, command, column)
        raise EventError.logged(number, message, command, column)

    def _count(self) -> int:
        """The number of predicates (calc_stack()). Raises EventError for an unpaired quote or parenthesis."""
        source = self._source
        predicates, opened, last_quote = 0, 0, 0
        quote, within = "", False
        for at, char in enumerate(source):
            if c.is_space(char):
                continue
            if quote:
                quote = "" if char == quote else quote
                continue
            if char in "'\"":
                quote, last_quote = char, at
            elif (char in "|&" and source[at + 1 : at + 2] == char) or char in "()":
                within = False
                opened += (char == "(") - (char == ")")
                if opened < 0:
                    self._refuse(errno.EPERM, "Too few '('", at)
                continue
            if not within:
                predicates, within = predicates + 1, True
        if quote:
            self._refuse(errno.ESRCH, "Missing matching quote", last_quote)
        if opened:
            self._refuse(errno.ENOENT, "Too many '('", self._open_parenthesis(opened))
        return predicates

    def _open_parenthesis(self, opened: int) -> int:
        """Where the innermost parenthesis is that is not closed; 0 for the first character."""
        level, quote = opened, ""
        for at in range(len(self._source) - 1, 0, -1):
            char = self._source[at]
            if quote:
                quote = "" if char == quote else quote
            elif char == "(":
                if level == opened:
                    return at
                level -= 1
            elif char == ")":
                level += 1
            elif char in "'\"":
                quote = char
        return 0

    def _entries(self) -> list[_Entry]:
        """The predicates with the labels of && and || (the first pass of predicate_parse())."""
        source, at = self._source, 0
        entries: list[_Entry] = []
        levels = [_Level(False)]
        inverted = False
        while at < len(source):
            char = source[at]
            if c.is_space(char):
                at += 1
            elif char == "(":
                levels.append(_Level(inverted))
                at += 1
            elif char == "!" and source[at + 1 : at + 2] not in ("=", "~"):
                inverted = not inverted
                at += 1
            else:
                predicate, at = parse_predicate(source, at, self._fields, self._refuse)
                entries.append(_Entry(predicate, inverted, len(entries) - 1))
                at = self._operator(at, entries, levels)
                if at > len(source):
                    return entries
                inverted = levels[-1].inverted
        if entries:
            self._refuse(errno.EINVAL, "Meaningless filter expression", at)
        self._refuse(errno.EINVAL, "No filter found", at)

    def _operator(self, at: int, entries: list[_Entry], levels: list[_Level]) -> int:
        """Read up to the next predicate. Gives where that begins, or more than the length of the text at its end."""
        source = self._source
        while True:
            char = source[at : at + 1]
            if c.is_space(char):
                at += 1
                continue
            if (char in "&|" and source[at + 1 : at + 2] != char) or char not in ")&|":
                self._refuse(errno.EPERM, "Too many terms in predicate expression", at)
            level = levels[-1]
            if level.process_and:
                _update(entries, level.inverted)
                level.process_and = False
            if char == "&":
                level.process_and = True
                return at + 2
            if level.process_or:
                _update(entries, not level.inverted)
                level.process_or = False
            if char == "|":
                level.process_or = True
                return at + 2
            at += 1
            if not char:
                return at
            levels.pop()


@dataclass
class _Level:
    """What is open in one pair of parentheses: whether it is inverted, and the operator before the last predicate."""

    inverted: bool
    process_and: bool = False
    process_or: bool = False


def _update(entries: list[_Entry], branch_if: bool) -> None:
    """Put the label of && or || behind the last entry (update_preds())."""
    last = len(entries) - 1
    label = entries[last].target
    beyond = entries[label].target
    entries[label].branch_if, entries[label].target = branch_if, last
    entries[last].target = beyond
