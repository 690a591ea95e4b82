# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that count hits by a key, with histograms of values, and show what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import ExpressionError
from armprobe.probes import Aggregation, Counted, Linear, Probe, Special
from armprobe.probes.aggregator import SPECIAL, aggregated

from .declaration import Arg, Arguments, Clause, Command, Option, integer
from .errors import CommandError
from .locations import complete_symbol, location
from .probe import GROUP, register, target
from .program import SessionScope, refused
from .selection import complete_probe, row, selected
from .values import Aggregated, Aggregates, CountedKey, HistogramBucket, Registered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armprobe.session import Session


def _set(session: Session, arguments: Arguments, value: str | None) -> Registered:
    linear = None
    if getattr(arguments, "linear", ()):
        if len(arguments.linear) != 3:
            raise CommandError("linear= takes three numbers: the first value, the one behind the last, and the step")
        linear = Linear(*arguments.linear)
    try:
        probe = aggregated(
            target(arguments.place),
            value,
            arguments.key,
            arguments.condition,
            lambda stage: SessionScope(session, stage, arguments.place),
            linear,
            arguments.keys,
            arguments.maxactive,
        )
    except ExpressionError as error:
        raise refused(error) from error
    return register(session, probe)


def _count(session: Session, arguments: Arguments) -> Registered:
    return _set(session, arguments, None)


def _hist(session: Session, arguments: Arguments) -> Registered:
    return _set(session, arguments, arguments.expression)


def _latency(session: Session, arguments: Arguments) -> Registered:
    return _set(session, arguments, "elapsed")


def _counts(session: Session, arguments: Arguments) -> Aggregates:
    chosen = selected(session, arguments.probe or "all")
    found = [(number, probe, probe.aggregate) for number, probe in chosen if probe.aggregate is not None]
    if not found and arguments.probe is not None:
        raise CommandError(f"{arguments.probe} does not count: probes shows those that do")
    answer = Aggregates(_aggregated(session, *each) for each in found)
    if arguments.clear:
        for _, _, aggregate in found:
            aggregate.clear()
    return answer


def _aggregated(session: Session, number: int, probe: Probe, aggregate: Aggregation) -> Aggregated:
    return Aggregated(
        probe=row(session, number, probe),
        value=None if aggregate.value is None else str(aggregate.value),
        unit="ns" if aggregate.value is Special.ELAPSED else "",
        by=None if aggregate.key is None else str(aggregate.key),
        linear=aggregate.linear is not None,
        keys=tuple(_key(session, aggregate, counted) for counted in aggregate.counted()),
        capacity=aggregate.capacity,
        lost=aggregate.lost,
        failed=aggregate.failed,
    )


def _key(session: Session, aggregate: Aggregation, counted: Counted) -> CountedKey:
    valued, key = aggregate.value is not None, counted.key
    number = key if isinstance(key, int) else None
    calls = aggregate.key is Special.CALLER and number is not None
    return CountedKey(
        number=None if calls else number,
        comm=key if isinstance(key, str) else None,
        caller=location(session, number) if calls and number is not None else None,
        count=counted.count,
        total=counted.sum if valued else None,
        average=counted.sum // counted.count if valued else None,
        buckets=tuple(HistogramBucket(each.low, each.high, each.count) for each in counted.buckets),
    )


def _complete_key(session: Session, word: str) -> Iterable[str]:
    return ["$comm", "caller", "$pid", *complete_symbol(session, word)]


def _complete_value(session: Session, word: str) -> Iterable[str]:
    return [*(name for name, special in SPECIAL.items() if special is Special.ELAPSED), "retval"]


_PLACE: Final = Arg("place", "SYMBOL, SYMBOL+0x10, MODULE:SYMBOL, or an address", complete=complete_symbol)
_KEYS: Final = Option("keys", "the most keys that are counted (default: 1024)", type=integer, default=1024)
_MAXACTIVE: Final = Option(
    "maxactive", "maximum of calls waited for at once (0: the kernel's default)", type=integer, default=0
)
_BY: Final = Clause("by", "key", "$comm, caller, $pid, or an expression", complete=_complete_key)
_CONDITION: Final = Clause("if", "condition", "condition, up to the end of the line", complete=complete_symbol)

COMMANDS = (
    Command(
        "count",
        "Count the hits of a place, by a key.\n"
        "Hits are counted and not recorded. The command counts shows the numbers so far, and unregister ends the\n"
        "counting. With by, hits are counted for each value of a key: the name of the task ($comm), the address that\n"
        "the function returns to (caller), the number of the task ($pid), or an expression as in a condition:\n\n"
        "    count kfree by caller\n"
        '    count vfs_read by x2 if $comm == "dd"\n\n'
        "With retval in the key or in the condition, the hits are returns of the function.",
        (_PLACE, _KEYS, _MAXACTIVE, _BY, _CONDITION),
        _count,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "hist",
        "Make a histogram of a value at the hits of a place, by a key.\n"
        "The histogram is one of powers of two, or with linear= one of equal steps. Keys and conditions are those of\n"
        "count. The value is an expression, evaluated before the instruction. With retval in it, it is evaluated\n"
        "where the function returns. elapsed is the guest time from the entry to the return in ns.\n\n"
        "    hist vfs_read count by $comm\n"
        "    hist vfs_read linear=0,2000,200 retval if retval > 0\n\n"
        "A condition without retval is evaluated at the entry, on the arguments.",
        (
            _PLACE,
            Option("linear", "first value, the one behind the last, step", type=integer, many=True, default=None),
            _KEYS,
            _MAXACTIVE,
            Arg("expression", "the value, up to by, if or the end of the line", rest=True, complete=_complete_value),
            _BY,
            _CONDITION,
        ),
        _hist,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "latency",
        "Make a histogram of the time that calls of a function take, by a key: hist FUNCTION elapsed.\n"
        "The time is the guest's, from the entry to the return, in ns.\n\n"
        "    latency vfs_read by $comm",
        (
            Arg("place", "a function: SYMBOL, MODULE:SYMBOL, or its address", complete=complete_symbol),
            _KEYS,
            _MAXACTIVE,
            _BY,
            _CONDITION,
        ),
        _latency,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "counts",
        "Show what count, hist and latency have counted.\n"
        "The text is in the form of bpftrace. The keys are in order of their numbers of hits.",
        (
            Arg(
                "probe",
                "number, name or pattern of names, or all (default: all)",
                optional=True,
                complete=complete_probe,
            ),
            Option("clear", "yes: forget it afterwards, and count from 0", choices=("yes",)),
        ),
        _counts,
        group=GROUP,
    ),
)
