# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that count hits by a key, with histograms of values, and show what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import ExpressionError, Value
from armprobe.expressions.program import points_to_text
from armprobe.probes import Aggregation, Counted, Kretprobe, Linear, Probe, Special, Stage, Tracepoint, is_pattern
from armprobe.probes.aggregator import SPECIAL, aggregated
from armprobe.probes.tracepoint import PREFIX

from . import bcc
from .declaration import Arg, Arguments, Clause, Command, Option, integer
from .errors import CommandError
from .functions import found_by
from .locations import complete_place, complete_symbol, location, probed
from .measuring import RUN, WHILE, measured, runs
from .probe import GROUP, register, target
from .program import SessionScope, refused
from .selection import complete_probe, row, selected, watched
from .task_options import OPTIONS as TASK_OPTIONS
from .task_options import compiled, given
from .values import (
    Aggregated,
    Aggregates,
    CallGraph,
    CountedKey,
    FoldedStack,
    FoldedStacks,
    FunctionsCounted,
    HistogramBucket,
    Location,
    Registered,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armprobe.session import Session


def set_counting(session: Session, arguments: Arguments, value: str | None) -> Registered | Aggregates:
    """Set the probe that counts `value`, and run the guest if the arguments say so."""
    if is_pattern(arguments.place) and not arguments.place.startswith(PREFIX):
        raise CommandError(
            f"{arguments.place} is a pattern, and this counts at one place: funccount {arguments.place} counts the "
            "calls of all that match"
        )
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
        if given(arguments):
            stage = probe.condition_at if isinstance(probe, Kretprobe) else Stage.PRE
            probe.condition = compiled(session, arguments, SessionScope(session, stage, arguments.place))
    except ExpressionError as error:
        raise refused(error) from error
    if arguments.key is not None and probe.aggregate is not None and isinstance(probe.aggregate.key, Value):
        stage = Stage.RETURN if isinstance(probe, Kretprobe) else Stage.PRE
        if points_to_text(arguments.key, SessionScope(session, stage, arguments.place)):
            session.remark(f"note: by {arguments.key} counts addresses; by str({arguments.key}) the texts there\n")
    registered = register(session, probe)
    if not runs(arguments):
        return registered
    number, aggregate = registered.probe.number, probe.aggregate
    assert aggregate is not None

    def end() -> None:
        session.kprobes.unregister(probe)
        session.probes.pop(number, None)

    return measured(session, arguments, lambda: Aggregates([_aggregated(session, number, probe, aggregate)]), end)


def _count(session: Session, arguments: Arguments) -> Registered | Aggregates:
    return set_counting(session, arguments, None)


def _hist(session: Session, arguments: Arguments) -> Registered | Aggregates:
    return set_counting(session, arguments, arguments.expression)


def _latency(session: Session, arguments: Arguments) -> Registered | Aggregates:
    return set_counting(session, arguments, "elapsed")


def _stacks(session: Session, arguments: Arguments) -> Registered | Aggregates | FoldedStacks:
    arguments.key = "stack"
    found = set_counting(session, arguments, None)
    return _folded(found) if arguments.folded and isinstance(found, Aggregates) else found


def _counts(session: Session, arguments: Arguments) -> Aggregates | FoldedStacks:
    word = arguments.probe or "all"
    numbers = watched(session, word)
    chosen = [] if numbers and word != "all" else selected(session, word)
    counting = [(number, probe, probe.aggregate) for number, probe in chosen if probe.aggregate is not None]
    if not counting and not numbers and arguments.probe is not None:
        raise CommandError(f"{arguments.probe} does not count: probes shows those that do")

    def found() -> Aggregates:
        rows: dict[int, Aggregated | FunctionsCounted | CallGraph] = {
            number: _aggregated(session, number, probe, aggregate) for number, probe, aggregate in counting
        }
        rows |= {number: found_by(session, number) for number in numbers}
        return Aggregates(rows[number] for number in sorted(rows))

    answer = measured(session, arguments, found, lambda: None) if runs(arguments) else found()
    if arguments.clear:
        for _, _, aggregate in counting:
            aggregate.clear()
        for number in numbers:
            session.function_watches[number].clear()
    return _folded(answer) if arguments.folded else answer


def _folded(found: Aggregates) -> FoldedStacks:
    """The stacks, for flame graphs. Raises CommandError if there are other keys."""
    folded: list[FoldedStack] = []
    for each in found:
        if not isinstance(each, Aggregated) or each.by != "stack":
            raise CommandError("folded=yes is for stacks: set a probe that counts them with: stacks FUNCTION")
        for key in each.keys:
            frames = [place.symbol or f"{place.address:#x}" for place in key.stack or ()]
            folded.append(FoldedStack(tuple(reversed(frames)), key.count))
    return FoldedStacks(folded)


def _aggregated(session: Session, number: int, probe: Probe, aggregate: Aggregation) -> Aggregated:
    return Aggregated(
        probe=row(session, number, probe),
        value=None if aggregate.value is None else str(aggregate.value),
        unit="ns" if aggregate.value is Special.ELAPSED else "",
        by=None if aggregate.key is None else str(aggregate.key),
        linear=aggregate.linear is not None,
        keys=tuple(_key(session, probe, aggregate, counted) for counted in aggregate.counted()),
        capacity=aggregate.capacity,
        lost=aggregate.lost,
        failed=aggregate.failed,
    )


def _key(session: Session, probe: Probe, aggregate: Aggregation, counted: Counted) -> CountedKey:
    valued, key = aggregate.value is not None, counted.key
    number = key if isinstance(key, int) else None
    calls = aggregate.key is Special.CALLER and number is not None
    return CountedKey(
        number=None if calls else number,
        comm=key if isinstance(key, str) and aggregate.key is Special.COMM else None,
        caller=location(session, number) if calls and number is not None else None,
        count=counted.count,
        total=counted.sum if valued else None,
        average=counted.sum // counted.count if valued else None,
        buckets=tuple(HistogramBucket(each.low, each.high, each.count) for each in counted.buckets),
        stack=_stack(session, probe, key) if isinstance(key, tuple) else None,
        instructions=counted.instructions if aggregate.value is Special.ELAPSED else None,
        text=key if isinstance(key, str) and aggregate.key is not Special.COMM else None,
    )


def _stack(session: Session, probe: Probe, callers: tuple[int, ...]) -> tuple[Location, ...]:
    """The function, or the place of an event, and the places that it and its callers return to."""
    if isinstance(probe, Tracepoint):
        return (location(session, callers[0]), *(location(session, address, back=4) for address in callers[1:]))
    return (location(session, probe.addr or 0), *(location(session, address, back=4) for address in callers))


def _complete_key(session: Session, word: str) -> Iterable[str]:
    return ["$comm", "caller", "$pid", "stack", *complete_symbol(session, word)]


def _complete_value(session: Session, word: str) -> Iterable[str]:
    return [*(name for name, special in SPECIAL.items() if special is Special.ELAPSED), "retval"]


_PLACE: Final = Arg(
    "place",
    "SYMBOL, SYMBOL+0x10, MODULE:SYMBOL, an address, $REGISTER, or t:EVENT",
    type=probed,
    complete=complete_place,
)
_FUNCTION: Final = Arg(
    "place", "a function: SYMBOL, MODULE:SYMBOL, its address, or $REGISTER", type=probed, complete=complete_symbol
)
KEYS: Final = Option("keys", "the most keys that are counted (default: 1024)", type=integer, default=1024)
MAXACTIVE: Final = Option(
    "maxactive", "maximum of calls waited for at once (0: the kernel's default)", type=integer, default=0
)
_BY: Final = Clause("by", "key", "$comm, caller, stack, $pid, an expression, or a text", complete=_complete_key)
CONDITION: Final = Clause("if", "condition", "condition, up to the end of the line", complete=complete_symbol)

COMMANDS = (
    Command(
        "count",
        "Count the hits of a place, by a key.\n"
        "Hits are counted and not recorded. The command counts shows the numbers so far, and unregister ends the\n"
        "counting. With by, hits are counted for each value of a key: the name of the task ($comm), the address that\n"
        "the function returns to (caller), that and those that its callers return to (stack), the number of the task\n"
        "($pid), an expression as in a condition, or a text: a field of an event, an array of characters, or\n"
        "str(POINTER). Its first 511 bytes count:\n\n"
        "    count kfree by caller\n"
        "    count do_sys_openat2 by str(filename)\n"
        "    count t:sched:sched_switch by next_comm\n"
        '    count vfs_read by count if $comm == "dd"\n\n'
        "With retval in the key or in the condition, the hits are returns of the function. With seconds=,\n"
        "instructions=, live= or while, the guest runs meanwhile, the result is shown, and the counting ends:\n\n"
        "    count vfs_read by $comm while ls -l /",
        (_PLACE, KEYS, MAXACTIVE, *TASK_OPTIONS, *RUN, _BY, CONDITION, WHILE),
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
            KEYS,
            MAXACTIVE,
            *RUN,
            Arg(
                "expression",
                "the value, up to by, if or the end of the line",
                rest=True,
                verbatim=False,
                complete=_complete_value,
            ),
            _BY,
            *TASK_OPTIONS,
            CONDITION,
            WHILE,
        ),
        _hist,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "latency",
        "Make a histogram of the time that calls of a function take, by a key: hist FUNCTION elapsed.\n"
        "The time is the guest's, from the entry to the return, in ns. The average number of instructions is shown\n"
        "beside it: they are the guest's, those of other tasks and of interrupts during the call included.\n\n"
        "    latency vfs_read by $comm",
        (
            _FUNCTION,
            KEYS,
            MAXACTIVE,
            *bcc.RUN,
            _BY,
            *bcc.TASK_OPTIONS,
            CONDITION,
            WHILE,
        ),
        _latency,
        aliases=("funclatency",),
        group=GROUP,
        changes_state=True,
        instead=bcc.OF_FUNCLATENCY,
        long=bcc.LONG_OF_FUNCLATENCY,
    ),
    Command(
        "stacks",
        "Count the calls of a function by the stack: who has called it, who that, and so on.\n"
        "It is short for: count FUNCTION by stack. With folded=yes there is a line for each stack, from the outermost\n"
        "function on, of which flame graphs are made. While it counts on, say so to counts:\n\n"
        "    stacks vfs_read\n"
        "    stacks vfs_read folded=yes while ls /",
        (
            _FUNCTION,
            KEYS,
            MAXACTIVE,
            Option("folded", "yes: a line for each stack, for flame graphs; also -f", choices=("yes",), flag="-f"),
            *bcc.RUN_OF_STACKCOUNT,
            *bcc.TASK_OPTIONS,
            CONDITION,
            WHILE,
        ),
        _stacks,
        aliases=("stackcount",),
        group=GROUP,
        changes_state=True,
        instead=bcc.OF_STACKCOUNT,
        long=bcc.LONG_OF_STACKCOUNT,
    ),
    Command(
        "counts",
        "Show what count, hist, latency, stacks, funccount and funcgraph have counted.\n"
        "The text is in the form of bpftrace, of bcc's funccount, and of the kernel's function_graph. The keys are in\n"
        "order of their numbers of hits. With live=yes the guest runs, and a terminal shows them until Ctrl-C.",
        (
            Arg(
                "probe",
                "number, name or pattern of names, or all (default: all)",
                optional=True,
                complete=complete_probe,
            ),
            Option("clear", "yes: forget it afterwards, and count from 0", choices=("yes",)),
            Option("folded", "yes: stacks as a line each, for flame graphs", choices=("yes",)),
            *RUN,
            WHILE,
        ),
        _counts,
        group=GROUP,
    ),
)
