# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a hist trigger: what it asks for, checked and refused as trace_events_hist.c of v6.1 does."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from . import c_text as c
from .errors import EventError
from .filter_fields import FilterField
from .histogram_expression import ExpressionParser
from .histogram_field import STACKTRACE_DEPTH, HistogramField, Mark
from .numbers import BadNumber, unsigned

CLOCKS = ("local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai")  # kernel/trace/trace.c
MAP_BITS_DEFAULT, MAP_BITS_MIN, MAP_BITS_MAX = 11, 7, 17  # kernel/trace/tracing_map.h
KEYS_MAX, VALUES_MAX, VARIABLES_MAX, SORT_KEYS_MAX = 3, 3, 16, 2
_KEY_BYTES_MAX = c.MAX_FILTER_STR_VAL + 8 * STACKTRACE_DEPTH  # HIST_KEY_SIZE_MAX
_NOT_A_VALUE = Mark.BUCKET | Mark.LOG2 | Mark.SYM | Mark.SYM_OFFSET | Mark.SYSCALL | Mark.STACKTRACE
_NOT_A_VARIABLE = Mark.GRAPH | Mark.PERCENT | Mark.BUCKET | Mark.LOG2


class SortKey(NamedTuple):
    """A key to sort by: the number of a field that is no variable, and the direction."""

    field: int = 0
    descending: bool = False


@dataclass
class Attributes:
    """The parts of the text between the colons (struct hist_trigger_attrs)."""

    keys: str | None = None
    values: str | None = None
    sort: str | None = None
    name: str | None = None
    clock: str = "global"
    bits: int = MAP_BITS_DEFAULT
    pause: bool = False
    resume: bool = False
    clear: bool = False
    assignments: list[str] = field(default_factory=list)


@dataclass
class HistogramText:
    """What a hist trigger asks for: fields, of which the values come first, then variables, then keys."""

    attributes: Attributes
    values: list[HistogramField]
    variables: list[HistogramField]
    keys: list[HistogramField]
    sort: list[SortKey]

    @property
    def summed(self) -> list[HistogramField]:
        """The fields that can be sorted by, at the numbers that `sort` has."""
        return [*self.values, *self.keys]

    @property
    def uses_time(self) -> bool:
        """Whether a timestamp is a part of it."""
        return any(_marks(each) & Mark.TIMESTAMP for each in (*self.values, *self.variables, *self.keys))

    def identity(self) -> tuple[object, ...]:
        """What is the same in two triggers that the kernel takes for the same."""
        fields = [each.identity() for each in (*self.values, *self.variables, *self.keys)]
        return len(self.values), fields, self.sort

    def specification(self) -> str:
        """The trigger as it is listed, without its filter and its state (event_hist_trigger_print())."""
        attributes = self.attributes
        keys = ("stacktrace" if key.marks & Mark.STACKTRACE else key.specification() for key in self.keys)
        values = ("hitcount", *(value.specification() for value in self.values[1:]))
        parts = ["hist", *([attributes.name] if attributes.name else ()), f"keys={','.join(keys)}"]
        parts.append(f"vals={','.join(values)}")
        if self.variables:
            parts.append(",".join(each.specification() for each in self.variables))
        parts.append(f"sort={','.join(self._sort_specification(key) for key in self.sort)}")
        parts.append(f"size={1 << attributes.bits}")
        if self.uses_time:
            parts.append(f"clock={attributes.clock}")
        return ":".join(parts)

    def _sort_specification(self, key: SortKey) -> str:
        name = self.summed[key.field].specification() if key.field else "hitcount"
        return name + (".descending" if key.descending else "")


class HistogramParser:
    """Reads the text of one hist trigger.

    `command` is what the kernel logs with an error, "hist:" and all that follows. `path` is the group and the name of
    the event, `fields` are those that can be named, and `taken` are the names of variables of the event's other
    histograms, `others` those of all.
    """

    def __init__(
        self,
        command: str,
        path: tuple[str, str],
        fields: Mapping[str, FilterField],
        taken: frozenset[str] = frozenset(),
        others: frozenset[str] = frozenset(),
    ) -> None:
        self._command = command
        self._path = path
        self._fields = fields
        self._taken = taken
        self._others = others

    def parse(self, text: str) -> HistogramText:
        """What `text`, the trigger without "hist:" and its filter, asks for. Raises EventError."""
        attributes = self._attributes(text.replace(".sym-offset", ".symXoffset"))
        definitions = self._definitions(attributes.assignments)
        parser = ExpressionParser(self._path, self._fields, dict(definitions), self._others, self.refuse)
        values = self._values(attributes.values, parser)
        variables = self._variables(definitions, parser)
        keys = self._keys(attributes.keys or "", parser)
        result = HistogramText(attributes, values, variables, keys, [])
        result.sort = self._sort(attributes.sort, result)
        return result

    def refuse(self, message: str, at: str, number: int = errno.EINVAL) -> NoReturn:
        """Raise EventError with the caret at the first place where `at` is (hist_err(), err_pos())."""
        column = max(0, self._command.find(at))
        raise EventError.logged(number, message, c.user_text(self._command), column)

    def _attributes(self, text: str) -> Attributes:
        """The parts of the text (parse_hist_trigger_attrs())."""
        attributes = Attributes()
        for part in text.split(":"):
            _, equals, right = part.partition("=")
            if equals:
                if not right:
                    self.refuse("Empty assignment", part)
                self._assign(attributes, part)
            elif part == "pause":
                attributes.pause = True
            elif part in ("cont", "continue"):
                attributes.resume = True
            elif part == "clear":
                attributes.clear = True
            elif part.startswith(("onmatch(", "onmax(", "onchange(")):
                raise EventError(
                    errno.EOPNOTSUPP,
                    f"'{part}' is an action of a histogram, and armprobe has none: latency measures calls, and a "
                    "handler in Python can act on any event",
                )
            else:
                raise EventError(errno.EINVAL, f"'{part}' is no part of a hist trigger")
        if attributes.keys is None:
            raise EventError(errno.EINVAL, "a hist trigger needs keys, as in hist:keys=common_pid")
        return attributes

    def _assign(self, attributes: Attributes, part: str) -> None:
        name, _, right = part.partition("=")
        if name in ("key", "keys"):
            attributes.keys = right
        elif name in ("val", "vals", "values"):
            attributes.values = right
        elif name == "sort":
            attributes.sort = right
        elif name == "name":
            attributes.name = part
        elif name == "clock":
            attributes.clock = c.strip(right)
        elif name == "size":
            attributes.bits = _map_bits(right)
        elif len(attributes.assignments) == VARIABLES_MAX:
            self.refuse("Too many variables defined", part)
        else:
            attributes.assignments.append(part)

    def _definitions(self, assignments: list[str]) -> list[tuple[str, str]]:
        """The variables and their texts (parse_var_defs())."""
        definitions: list[tuple[str, str]] = []
        for assignment in assignments:
            for part in assignment.split(",")[:VARIABLES_MAX]:
                name, equals, text = part.partition("=")
                if not equals:
                    self.refuse("Malformed assignment", name)
                if len(definitions) == VARIABLES_MAX:
                    self.refuse("Too many variables defined", name)
                definitions.append((name, text))
        return definitions

    def _values(self, text: str | None, parser: ExpressionParser) -> list[HistogramField]:
        values = [HistogramField(Mark.HITCOUNT)]
        parts = text.split(",") if text is not None else []
        taken = 0
        while taken < len(parts) and taken < VALUES_MAX and len(values) < VALUES_MAX:
            part = parts[taken]
            taken += 1
            if part != "hitcount":
                values.append(self._value(part, Mark(0), "", parser))
        if parts[taken:] and parts[taken:] != ["hitcount"]:
            raise EventError(errno.EINVAL, f"a histogram has at most {VALUES_MAX - 1} values beside hitcount")
        return values

    def _variables(self, definitions: list[tuple[str, str]], parser: ExpressionParser) -> list[HistogramField]:
        variables: list[HistogramField] = []
        for name, text in definitions:
            if name in self._taken or name in (each.variable for each in variables):
                self.refuse("Variable already defined", name)
            variables.append(self._value(text, Mark.VAR, name, parser))
        return variables

    def _value(self, text: str, marks: Mark, variable: str, parser: ExpressionParser) -> HistogramField:
        value = parser.parse(text, marks, variable)
        if value.marks & (_NOT_A_VARIABLE if value.marks & Mark.VAR else _NOT_A_VALUE):
            self.refuse("Invalid field modifier", text)
        return value

    def _keys(self, text: str, parser: ExpressionParser) -> list[HistogramField]:
        """The keys (create_key_fields())."""
        keys: list[HistogramField] = []
        size = 0
        parts = text.split(",")
        for part in parts[:KEYS_MAX]:
            if part == "stacktrace":
                key = HistogramField(Mark.KEY | Mark.STACKTRACE, size=8 * STACKTRACE_DEPTH)
            else:
                key = parser.parse(part, Mark.KEY)
            key.size = (key.size + 7) & ~7
            key.offset = size
            size += key.size
            keys.append(key)
            if size > _KEY_BYTES_MAX:
                raise EventError(errno.EINVAL, f"the keys have more than {_KEY_BYTES_MAX} bytes; a string has 256")
        if len(parts) > KEYS_MAX:
            raise EventError(errno.EINVAL, f"a histogram has at most {KEYS_MAX} keys")
        return keys

    def _sort(self, text: str | None, made: HistogramText) -> list[SortKey]:
        """The keys to sort by (create_sort_keys())."""
        if text is None:
            return [SortKey()]
        keys: list[SortKey] = []
        parts = text.split(",")
        for number, part in enumerate(parts):
            if not part:
                self.refuse("Empty sort field", "sort=")
            if number == SORT_KEYS_MAX - 1 and len(parts) > SORT_KEYS_MAX:
                self.refuse("Too many sort fields (Max = 2)", "sort=")
            name, dot, modifier = part.partition(".")
            if not name:
                self.refuse("Empty sort field", "sort=")
            index = 0
            if name != "hitcount":
                found = (at for at, each in enumerate(made.summed) if at and each.name == name)
                index = next(found, 0)
                if not index:
                    self.refuse("Sort field must be a key or a val", name)
            if dot and modifier not in ("ascending", "descending"):
                self.refuse("Invalid sort modifier", modifier)
            keys.append(SortKey(index, modifier == "descending"))
        return keys


def split_filter(text: str) -> tuple[str, str | None]:
    """The trigger and its filter, the latter from "if" on (event_hist_trigger_parse()). Raises EventError."""
    at = 0
    while True:
        at = text.find("if", at)
        if at < 0:
            return text, None
        if at == 0:
            raise EventError(errno.EINVAL, "a hist trigger needs keys before 'if'")
        if text[at - 1] in " \t":
            if at >= len(text) - 3:
                raise EventError(errno.EINVAL, "a filter is missing behind 'if'")
            if text[at + 2] in " \t":
                return c.strip(text[: at - 1]), c.strip(text[at:])
        at += 1


def _map_bits(text: str) -> int:
    """The logarithm of the size (parse_map_size())."""
    try:
        size = unsigned(text)
    except BadNumber as error:
        raise EventError(error.errno, f"the size '{text}' is no number") from None
    bits = max(0, size - 1).bit_length()
    if not MAP_BITS_MIN <= bits <= MAP_BITS_MAX or not size:
        raise EventError(errno.EINVAL, f"a histogram has {(1 << MAP_BITS_MIN - 1) + 1} to {1 << MAP_BITS_MAX} entries")
    return bits


def _marks(part: HistogramField) -> Mark:
    marks = part.marks
    for operand in part.operands:
        marks |= _marks(operand)
    return marks
