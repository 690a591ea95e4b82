# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the probe that counts what was asked for: its kind and its stages follow from the words used."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from armprobe.expressions import Condition, ExpressionError, Memory, Value, text_at
from armprobe.machine import Machine
from armprobe.machine.native.aggregate import LONGEST_TEXT

from .aggregation import Aggregation, Linear, Special
from .errors import ProbeError
from .kprobe import Kprobe
from .kretprobe import Kretprobe
from .record import Stage
from .scope import GuestScope
from .tracepoint import PREFIX, Tracepoint

if TYPE_CHECKING:
    from .registration import Kprobes

Key = str | Callable[["Fields"], object] | None
"""What hits are counted by: a text, or a function that takes it from `Fields`, as `lambda hit: hit.comm`."""

SPECIAL: Final = {
    "comm": Special.COMM,
    "caller": Special.CALLER,
    "stack": Special.STACK,
    "elapsed": Special.ELAPSED,
    "elapsed_ns": Special.ELAPSED,
}
"""The words, with or without a $, that are no expressions."""
_RETURNED: Final = re.compile(r"\bretval\b|\$elapsed\b")


class Fields:
    """Gives the name of each attribute that is asked for."""

    def __getattr__(self, name: str) -> str:
        return name


class Aggregator:
    """Sets the probes that count hits at `place`, a symbol or an address.

    `key` is "comm", the name of the task, "caller", the address that the function returns to, "stack", that and those
    that its callers return to, or an expression, such as "$pid" or "x1 & 0xff". Hits at which the expression
    `condition` is 0 are not counted. `kprobes` registers the probe, which is the `probe` of the result. Raises
    ProbeError (EINVAL for a text that is wrong).
    """

    def __init__(self, kprobes: Kprobes, place: str | int, key: Key = None, condition: str | None = None) -> None:
        self._kprobes, self._condition = kprobes, condition
        self._where: dict[str, Any] = {"symbol_name": place} if isinstance(place, str) else {"addr": place}
        self._key = _named(key)

    def count(self, by: Key = None, capacity: int = 1024) -> Aggregation:
        """Count the hits of each key, of which there can be `capacity`. `by` is another key."""
        return self._register(None, None, capacity, by)

    def hist(self, value: str, linear: Linear | None = None, by: Key = None, capacity: int = 1024) -> Aggregation:
        """Also count the values, by size. `by` is another key.

        `value` is "elapsed", the guest time of a call of the function in ns, or an expression. With `retval` in it, it
        is evaluated where the function returns, and otherwise before the instruction.
        """
        return self._register(value, linear, capacity, by)

    def _register(self, value: str | None, linear: Linear | None, capacity: int, by: Key) -> Aggregation:
        key = self._key if by is None else _named(by)
        kprobes = self._kprobes
        place, name = _place(kprobes.machine, self._where)
        scope = lambda stage: GuestScope(kprobes.machine, stage, place, name)  # noqa: E731
        try:
            probe = aggregated(self._where, value, key, self._condition, scope, linear, capacity)
        except ExpressionError as error:
            raise ProbeError(errno.EINVAL, str(error)) from error
        kprobes.register(probe)
        assert probe.aggregate is not None
        probe.aggregate.probe = probe
        return probe.aggregate


def _named(key: Key) -> str | None:
    named = key(Fields()) if callable(key) else key
    if not isinstance(named, str | None):
        raise ProbeError(errno.EINVAL, f"the key is {named!r}: give a text, or a function of one field of a hit")
    return named


def _place(machine: Machine, where: dict[str, Any]) -> tuple[int | None, str]:
    """The address of a probe with these arguments, and the name of its function; None where it cannot be known yet."""
    symbol, offset = where.get("symbol_name"), where.get("offset", 0)
    if symbol is None:
        return where.get("addr"), ""
    if symbol.startswith(PREFIX):
        return None, symbol
    found = machine.symbols.get(symbol)
    return (None, "") if found is None else (found.address + offset, symbol.rpartition(":")[2])


def aggregated(
    where: dict[str, Any],
    value: str | None,
    key: str | None,
    condition: str | None,
    scope: Callable[[Stage], GuestScope],
    linear: Linear | None = None,
    capacity: int = 1024,
    maxactive: int = 0,
) -> Kprobe | Kretprobe | Tracepoint:
    """The probe that counts by `key`, with a histogram of `value` if there is one.

    It is a kretprobe if one of the texts has `retval`, or the value is the time of the call. Its condition is then
    evaluated at the entry, unless that has `retval` itself. `where` and `maxactive` are arguments of the probe.
    Raises ExpressionError and ProbeError.
    """
    at_return = _special(value) is Special.ELAPSED or any(
        text is not None and _RETURNED.search(text) for text in (value, key, condition)
    )
    stage = Stage.RETURN if at_return else Stage.PRE
    value_ = None if value is None else _special(value) or Value.compile(value, scope(stage))
    key_ = None if key is None else _key(key, scope(stage))
    if key_ is Special.COMM and scope(stage).task is None:
        raise ProbeError(errno.EINVAL, "hits cannot be counted by comm: the tasks of this guest are not known")
    aggregate = Aggregation(value_, key_, linear, capacity)
    if str(where.get("symbol_name")).startswith(PREFIX):
        if at_return or maxactive or key_ is Special.CALLER:
            raise ProbeError(errno.EINVAL, "an event has neither a return nor a caller: count its fields")
        selects = None if condition is None else Condition.compile(condition, scope(stage))
        return Tracepoint(where["symbol_name"], condition=selects, aggregate=aggregate)
    if not at_return:
        if maxactive:
            raise ProbeError(errno.EINVAL, "maxactive is for calls that are waited for, and here none is")
        selects = None if condition is None else Condition.compile(condition, scope(stage))
        return Kprobe(**where, condition=selects, aggregate=aggregate)
    asked = Stage.RETURN if condition is not None and _RETURNED.search(condition) else Stage.ENTRY
    selects = None if condition is None else Condition.compile(condition, scope(asked))
    return Kretprobe(**where, condition=selects, condition_at=asked, aggregate=aggregate, maxactive=maxactive)


def _key(text: str, scope: GuestScope) -> Value | Memory | Special:
    """What is counted by. A field of an event comes before a word."""
    from armprobe.expressions.parse import next_expression

    if (comma := next_expression(text)) is not None:
        why = "a key is one value; an event's trigger hist:keys=A,B counts by several (help events trigger)"
        raise ExpressionError(why, text, comma)
    special = _special(text)
    if special is not None and (text.startswith("$") or scope.field(text) is None):
        return special
    found = text_at(text, scope, LONGEST_TEXT)
    return Value.compile(text, scope) if found is None else found


def _special(text: str | None) -> Special | None:
    return None if text is None else SPECIAL.get(text.strip().removeprefix("$"))
