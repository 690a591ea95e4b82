# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that watch functions without a probe at each: how often they are called, and what they call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition, ExpressionError
from armprobe.machine.devices.timer import FREQUENCY
from armprobe.probes import FunctionCounts, FunctionGraph, GraphCall, Stage, is_pattern
from armprobe.probes.scope import GuestScope
from armprobe.probes.tracepoint import PREFIX

from . import bcc
from .declaration import Arg, Arguments, Command, Option, integer
from .errors import CommandError
from .locations import complete_symbol, location, number_of_address, probed
from .measuring import RUN, WHILE, measured, runs
from .probe import GROUP
from .program import refused
from .task_options import OPTIONS as TASK_OPTIONS
from .task_options import compiled
from .values import CallGraph, FunctionCalls, FunctionsCounted, GraphLine, Location, TopFunctions, Watched

if TYPE_CHECKING:
    from armprobe.session import Session

_TICK: Final = 1_000_000_000 // FREQUENCY  # ns


def _funccount(session: Session, arguments: Arguments) -> Watched | FunctionsCounted:
    number, counts = _count(session, arguments)
    if not runs(arguments):
        return Watched(number, "funccount", arguments.pattern, len(counts.functions))
    return measured(
        session,
        arguments,
        lambda: functions_counted(session, number, counts),
        lambda: end_watch(session, number),
    )


def _count(session: Session, arguments: Arguments) -> tuple[int, FunctionCounts]:
    pattern = arguments.pattern = arguments.pattern.removeprefix("p::")  # as bcc's funccount may have it
    if pattern.startswith(PREFIX):
        each = f"kprobe {pattern}" if is_pattern(pattern) else f"count {pattern}"
        raise CommandError(f"funccount counts functions: count the hits of events with {each}, and look at probes")
    if pattern.startswith(("u:", "c:", "/")):
        raise CommandError(
            "funccount counts functions of the kernel: those of programs and libraries cannot be counted"
        )
    counts = session.kprobes.funccount(arguments.pattern, _of_tasks(session, arguments))
    number = session.probes.take_number()
    session.function_watches[number] = counts
    return number, counts


def _of_tasks(session: Session, arguments: Arguments) -> Condition | None:
    """The condition for the options of tasks. Raises CommandError."""
    try:
        return compiled(session, arguments, GuestScope(session.machine, Stage.PRE))
    except ExpressionError as error:
        raise refused(error) from error


def functions_counted(session: Session, number: int, counts: FunctionCounts) -> FunctionsCounted:
    """What was counted so far."""
    clock = session.machine.clock
    return FunctionsCounted(
        number=number,
        pattern=counts.given,
        functions=len(counts.functions),
        seconds=max(clock.now - counts.since, 0) / FREQUENCY,
        instructions=max(clock.executed - counts.executed_since, 0),
        called=tuple(FunctionCalls(location(session, function.address), calls) for function, calls in counts.counted()),
    )


def _top(session: Session, arguments: Arguments) -> TopFunctions | Watched:
    if arguments.functions < 1:
        raise CommandError("functions= takes a number of at least 1")
    number, counts = _count(session, arguments)
    if not runs(arguments):
        if session.controlled:  # gdb runs the guest
            return Watched(number, "funccount", arguments.pattern, len(counts.functions))
        arguments.live = "yes"

    def found() -> TopFunctions:
        counted = functions_counted(session, number, counts)
        return TopFunctions(counted, counted.called[::-1][: arguments.functions])

    return measured(session, arguments, found, lambda: end_watch(session, number))


def _funcgraph(session: Session, arguments: Arguments) -> Watched | CallGraph:
    word = arguments.function
    if is_pattern(word):
        raise CommandError("funcgraph follows the calls of one function: give its name")
    function = number_of_address(word) if word[:1].isdigit() else word
    graph = session.kprobes.funcgraph(
        function,
        arguments.depth,
        arguments.calls,
        every=arguments.all is not None,
        events=arguments.events,
        condition=_of_tasks(session, arguments),
    )
    number = session.probes.take_number()
    session.function_watches[number] = graph
    if not runs(arguments):
        return Watched(number, "funcgraph", word, graph.functions)
    return measured(session, arguments, lambda: call_graph(session, number, graph), lambda: end_watch(session, number))


def call_graph(session: Session, number: int, graph: FunctionGraph) -> CallGraph:
    """The calls so far."""
    calls = graph.calls()
    functions = {
        address: (location(session, address), _in_interrupt_text(session, address))
        for address in {call.function.address for call in calls}
    }
    entries: dict[int, list[GraphCall]] = {}  # of calls under way, by thread
    lines: list[GraphLine] = []
    for at, call in enumerate(calls):
        function = functions[call.function.address]
        under_way = entries.setdefault(call.thread, [])
        if not call.returns:
            under_way.append(call)
            following = calls[at + 1] if at + 1 < len(calls) else None
            leaf = following is not None and following.returns and following.thread == call.thread
            lines.append(_line(function, "leaf" if leaf else "entry", call, following if leaf else None))
            continue
        entry = under_way.pop() if under_way else None
        if lines and lines[-1].kind == "leaf" and calls[at - 1] is entry:
            continue
        lines.append(_line(function, "return", call, call, entry))
    return CallGraph(number, graph.given, graph.depth, graph.functions, tuple(lines), graph.lost, graph.refused)


def _line(
    function: tuple[Location, bool], kind: str, call: GraphCall, end: GraphCall | None, start: GraphCall | None = None
) -> GraphLine:
    place, interrupt = function
    began = start if kind == "return" else call
    done = end if began is not None else None
    return GraphLine(
        kind=kind,  # type: ignore[arg-type]
        depth=call.depth,
        function=place,
        task=None if call.task is None else call.task.comm,
        pid=None if call.task is None else call.task.pid,
        seconds=call.ticks / FREQUENCY,
        duration=None if done is None or began is None else (done.ticks - began.ticks) * _TICK,
        instructions=None if done is None or began is None else done.instructions - began.instructions,
        interrupt=interrupt,
    )


def _in_interrupt_text(session: Session, address: int) -> bool:
    """Whether a function is one that the kernel's tracer takes for the handling of an interrupt (__irq_entry)."""
    start, end = (session.machine.symbols.get(f"__irqentry_text_{each}") for each in ("start", "end"))
    return start is not None and end is not None and start.address <= address < end.address


def found_by(session: Session, number: int) -> FunctionsCounted | CallGraph:
    """What was found by the watch with that number."""
    watch = session.function_watches[number]
    if isinstance(watch, FunctionCounts):
        return functions_counted(session, number, watch)
    return call_graph(session, number, watch)


def end_watch(session: Session, number: int) -> None:
    """Watch no more."""
    session.function_watches.pop(number).close()


_PATTERN: Final = Arg("pattern", "a function, or a pattern of functions, such as vfs_* or *", complete=complete_symbol)

COMMANDS = (
    Command(
        "funccount",
        "Count the calls of the functions that match a pattern.\n"
        "Functions are counted without a probe on each: all functions of a kernel may be, also those on the\n"
        "blacklist. The command counts shows the numbers so far, and unregister ends the counting. With seconds=,\n"
        "instructions=, live= or while, the guest runs meanwhile, the result is shown, and the counting ends:\n\n"
        "    funccount 'vfs_*' while ls /\n"
        "    funccount '*' seconds=1",
        (_PATTERN, *bcc.TASK_OPTIONS, *bcc.RUN, WHILE),
        _funccount,
        group=GROUP,
        changes_state=True,
        instead=bcc.OF_FUNCCOUNT,
        long=bcc.LONG_OF_FUNCCOUNT,
    ),
    Command(
        "top",
        "Show the functions that are called most, again and again until Ctrl-C.\n"
        "While gdb is in control of the guest, top counts only: continue there, and see counts.",
        (
            Arg(
                "pattern",
                "a pattern of functions, such as vfs_* (default: *)",
                optional=True,
                default="*",
                complete=complete_symbol,
            ),
            Option("functions", "the number of functions that are shown (default: 20)", type=integer, default=20),
            *TASK_OPTIONS,
            *RUN,
            WHILE,
        ),
        _top,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "funcgraph",
        "Show what a function calls, as the kernel's tracer function_graph shows it.\n"
        "The durations are guest time. A mark in front of one says that it is long: + for more than 10 us, ! for more\n"
        "than 100 us, # for more than 1 ms, * for more than 10 ms. In a Linux guest the functions are those that its\n"
        "own tracer sees. Interrupts during the call are part of it. The command counts shows the calls so far, and\n"
        "unregister ends it. With seconds=, instructions=, live= or while, the guest runs meanwhile:\n\n"
        "    funcgraph do_sys_openat2 depth=3 while cat /etc/passwd",
        (
            Arg(
                "function",
                "a function: SYMBOL, MODULE:SYMBOL, its address, or $REGISTER",
                type=probed,
                complete=complete_symbol,
            ),
            Option("depth", "the most calls within each other (default: 16)", type=integer, default=16),
            Option("calls", "the number of calls of the function that are followed (0: all)", type=integer, default=0),
            Option(
                "events", "the most entries and returns that are kept (default: 65536)", type=integer, default=1 << 16
            ),
            Option("all", "yes: also the functions that the kernel's tracer does not see", choices=("yes",)),
            *TASK_OPTIONS,
            *RUN,
            WHILE,
        ),
        _funcgraph,
        group=GROUP,
        changes_state=True,
    ),
)
