# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that set, list, change and remove probes."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Program
from armprobe.probes import (
    Jprobe,
    Kprobe,
    Kretprobe,
    ModuleNotLoaded,
    Probe,
    ProbeError,
    Stage,
    Tracepoint,
    is_pattern,
)
from armprobe.probes.kprobe import DISABLED

from .declaration import Arg, Arguments, Clause, Command, Option, integer
from .errors import CommandError
from .locations import (
    complete_place,
    complete_symbol,
    is_event,
    location,
    matching_functions,
    number_of_address,
    probed,
)
from .program import Programs
from .recording import chosen_record, with_texts
from .render.progress import followed
from .selection import breakpoint_row, complete_probe, no_number, row, selected, watch_row, watched
from .task_options import OPTIONS as TASK_OPTIONS
from .values import (
    Blacklist,
    BlacklistedArea,
    BreakpointRows,
    BreakpointsChanged,
    Changed,
    Probes,
    Refused,
    Registered,
    RegisteredMatching,
)

if TYPE_CHECKING:
    from armprobe.session import Session
    from armprobe.session.breakpoints import Breakpoint

GROUP = "Probes"
_MOST_ACTIVE: Final = 4096  # KRETPROBE_MAXACTIVE_MAX, kernel/trace/trace_kprobe.c


def target(word: str | int) -> dict[str, int | str]:
    """The place that the user named, as arguments of Kprobe and Kretprobe."""
    if isinstance(word, int):
        return {"addr": word}
    if word[:1].isdigit():
        return {"addr": number_of_address(word)}
    return {"symbol_name": word}


def _kprobe(session: Session, arguments: Arguments) -> Registered | RegisteredMatching:
    compiled = Programs(session, arguments, Stage.PRE, Stage.PRE)
    chosen, many = chosen_record(arguments, Kprobe.stages), is_pattern(arguments.place)

    def make(word: str | int) -> Kprobe | Tracepoint:
        if is_event(word):
            return _tracepoint(word, arguments, compiled.at(word))
        asked = compiled.at_or_later(word)
        return Kprobe(
            **target(word),  # type: ignore[arg-type]
            stop=map(Stage, arguments.stop),
            record=chosen if many else with_texts(session, chosen, word),
            condition=asked.condition,
            note=asked.note,
        )

    if many:
        kind = Tracepoint.kind if is_event(arguments.place) else Kprobe.kind
        return _register_matching(session, kind, arguments.place, make, compiled)
    return register(session, make(arguments.place), compiled.renew)


def _tracepoint(name: str, arguments: Arguments, asked: Program) -> Tracepoint:
    """The probe on the event `name`. Raises CommandError for what is chosen of a kprobe only."""
    if "post" in arguments.stop:
        raise CommandError("an event has no stage post: stop at pre")
    if arguments.record or arguments.memory or arguments.strings:
        raise CommandError("of an event its fields are recorded: record=, memory= and strings= are for kprobes")
    return Tracepoint(
        name,
        stop=map(Stage, arguments.stop),
        record=not arguments.quiet,
        condition=asked.condition,
        note=asked.note,
    )


def _kretprobe(session: Session, arguments: Arguments) -> Registered | RegisteredMatching:
    if arguments.maxactive > _MOST_ACTIVE:
        raise CommandError(f"maxactive can be {_MOST_ACTIVE} at most, as in the kernel's kprobe_events")

    at = Stage(arguments.at)
    compiled = Programs(session, arguments, at, Stage.RETURN)

    def make(word: str | int) -> Kretprobe:
        asked = compiled.at_or_later(word)
        stages = map(Stage, arguments.stop)
        return Kretprobe(
            **target(word),  # type: ignore[arg-type]
            maxactive=arguments.maxactive,
            stop=stages,
            record=chosen_record(arguments, Kretprobe.stages),
            condition=asked.condition,
            condition_at=at,
            note=asked.note,
        )

    if is_event(arguments.function):
        raise CommandError("an event has no return: use kprobe, or an event of the return, such as syscalls:sys_exit_*")
    if is_pattern(arguments.function):
        return _register_matching(session, Kretprobe.kind, arguments.function, make, compiled)
    return register(session, make(arguments.function), compiled.renew)


def _jprobe(session: Session, arguments: Arguments) -> Registered:
    asked = Programs(session, arguments, Stage.ENTRY, Stage.ENTRY).at(arguments.function)
    probe = Jprobe(
        **target(arguments.function),  # type: ignore[arg-type]
        stop=map(Stage, arguments.stop),
        record=not arguments.quiet,
        condition=asked.condition,
        note=asked.note,
    )
    return register(session, probe)


def register(session: Session, probe: Probe, renew: Callable[[Probe], None] | None = None) -> Registered:
    """Put `probe` into the guest and give it a number. Raises ProbeError.

    `renew` is called with a probe of a module before it is set again, when the module is loaded.
    """
    try:
        session.kprobes.register(probe)
    except ModuleNotLoaded as error:
        session.module_probes.wait(probe, error.module, renew)
        return Registered(row(session, session.probes.add(probe), probe), None, ())
    except ProbeError:
        # Where it is accepted this is one of its warnings.
        if ambiguity := session.machine.symbols.ambiguity(probe.symbol_name or ""):
            session.remark(f"warning: {ambiguity}\n")
        raise
    number = session.probes.add(probe)
    session.module_probes.registered(probe, renew)
    return Registered(row(session, number, probe), location(session, probe.addr or 0), tuple(probe.warnings))


def _register_matching(
    session: Session, kind: str, pattern: str, make: Callable[[str | int], Probe], programs: Programs
) -> RegisteredMatching:
    """Register what `make` gives for each function that matches `pattern`, and count refusals by reason.

    Raises CommandError, with the refusals as its value, if none can be probed.
    """
    kprobes = session.kprobes
    functions = matching_functions(session, pattern)
    refused: Counter[tuple[str, str]] = Counter()
    numbers: list[int] = []
    unsuitable: CommandError | None = None
    for place in followed(f"setting {kind}s on {pattern}", functions, len(functions)):
        try:
            probe = make(place)
            kprobes.register(probe)
        except ProbeError as error:
            refused[error.errno_name, error.rule] += 1
        except CommandError as error:
            if not programs.depends:
                raise
            unsuitable = unsuitable or error
            refused["EINVAL", f"the expression is wrong there, first so: {unsuitable}"] += 1
        else:
            numbers.append(session.probes.add(probe))
            session.module_probes.registered(probe, programs.renew)
    answer = RegisteredMatching(
        kind=kind,
        numbers=tuple(numbers),
        functions=len(functions),
        refused=tuple(Refused(*reason, count) for reason, count in refused.most_common()),
    )
    if not numbers and unsuitable is not None and len(refused) == 1:
        raise unsuitable
    if not numbers:
        raise CommandError(f"none of the {len(functions):,} functions that match {pattern!r} can be probed", answer)
    return answer


def _probes(session: Session, arguments: Arguments) -> Probes:
    return list_probes(session, arguments.probe or "all", arguments.top)


def list_probes(session: Session, which: str = "all", top: int | None = None) -> Probes:
    """The probes that `which` names, see `selected`; with `top` that many, those with the most hits first."""
    if not session.probes and not session.function_watches:
        return Probes()
    session.kprobes.list()  # which finds out whose text is gone
    chosen, watches = _selected(session, which)
    rows = [row(session, *each) for each in chosen] + [watch_row(session, number) for number in watches]
    if top is not None:
        return Probes(sorted(rows, key=lambda each: -each.hits)[: max(top, 0)])
    return Probes(sorted(rows, key=lambda each: each.number))


def _enable(session: Session, arguments: Arguments) -> Changed | BreakpointsChanged:
    point = _breakpoint(session, arguments.probe)
    if point is not None:
        session.breakpoints.enable(point)
        return BreakpointsChanged("enabled", BreakpointRows([breakpoint_row(session, point)]))
    chosen = selected(session, arguments.probe)
    waiting, registered = _apart(session, chosen)
    for probe in waiting:
        probe.flags &= ~DISABLED
    for probe in registered:
        session.kprobes.enable(probe)
    return Changed("enabled", Probes(row(session, *each) for each in chosen))


def _breakpoint(session: Session, word: str) -> Breakpoint | None:
    """The breakpoint of that number; None if `word` is about probes. Raises CommandError for a number of neither."""
    if not word.isdecimal() or int(word) in session.probes:
        return None
    if int(word) not in session.breakpoints:
        raise no_number(word)
    return session.breakpoints[int(word)]


def _disable(session: Session, arguments: Arguments) -> Changed | BreakpointsChanged:
    point = _breakpoint(session, arguments.probe)
    if point is not None:
        session.breakpoints.disable(point)
        return BreakpointsChanged("disabled", BreakpointRows([breakpoint_row(session, point)]))
    chosen = selected(session, arguments.probe)
    waiting, registered = _apart(session, chosen)
    for probe in waiting:
        probe.flags |= DISABLED
    for probe in registered:
        session.kprobes.disable(probe)
    return Changed("disabled", Probes(row(session, *each) for each in chosen))


def _unregister(session: Session, arguments: Arguments) -> Changed:
    return unregister(session, arguments.probe)


def unregister(session: Session, word: str) -> Changed:
    """Remove the probes that `word` names, see `selected`. Raises CommandError if there are none."""
    chosen, watches = _selected(session, word)
    session.kprobes.unregister_kprobes(_apart(session, chosen)[1])
    for number, _ in chosen:
        del session.probes[number]
    rows = [row(session, *each) for each in chosen] + [watch_row(session, number) for number in watches]
    for number in watches:
        session.function_watches.pop(number).close()
    return Changed("removed", Probes(rows))


def _selected(session: Session, word: str) -> tuple[list[tuple[int, Probe]], list[int]]:
    """The probes that `word` names, and the functions that are watched. Raises CommandError if there are none."""
    watches = watched(session, word)
    return ([] if watches and word != "all" else selected(session, word)), watches


def _apart(session: Session, chosen: list[tuple[int, Probe]]) -> tuple[list[Probe], list[Probe]]:
    """The probes that wait for their modules, and those that are registered."""
    apart: dict[bool, list[Probe]] = {True: [], False: []}
    for _, probe in chosen:
        apart[session.module_probes.waits(probe)].append(probe)
    return apart[True], apart[False]


def _blacklist(session: Session, arguments: Arguments) -> Blacklist:
    shown = [area for area in session.kprobes.blacklist if fnmatch.fnmatchcase(area.name, arguments.pattern)]
    if not shown:
        raise CommandError(f"nothing on the blacklist matches {arguments.pattern!r}")
    return Blacklist(BlacklistedArea(area.start, area.end, area.name) for area in shown)


_CONDITION: Final = Clause("if", "condition", "condition, up to print or the end of the line", complete=complete_symbol)
_NOTE: Final = Clause(
    "print",
    "note",
    'format and values that trace shows for each hit: print "%s %d", *(char **)x1, w0',
    complete=complete_symbol,
)
_CODE: Final = Option("code", "condition as compiled by gdb: the operations of an agent expression", many=True)


def _recorded(example: str) -> tuple[Option, ...]:
    return (
        Option("record", f"stages and registers to record instead of all, as in {example}", many=True),
        Option("memory", "memory to record at the first stage, as ADDRESS:SIZE, both expressions", many=True),
        Option("strings", "addresses of strings to record at the first stage, as in *(char**)x1", many=True),
    )


_WHICH: Final = "number, name or pattern of names, or all"

COMMANDS = (
    Command(
        "kprobe",
        "Put a kprobe on an instruction.\n"
        "Each hit is recorded with all registers at the stages pre (before the instruction) and post (after it).\n"
        "A probe in a module that is not loaded, MODULE:SYMBOL, is pending. It is set each time the module is loaded,\n"
        "before the module's initialisation runs.\n"
        "The commands regs and trace show them. With stop= the guest also stops at these stages. A pattern, such as\n"
        "vfs_*, puts a kprobe on each function that matches, and counts the refusals by reason.\n\n"
        "With if, armprobe records and stops for only those hits at which the condition holds before the\n"
        "instruction. The command probes shows how many hits met it. The condition is an expression in C of\n"
        "registers, numbers, symbols and memory:\n\n"
        "    kprobe vfs_read if x2 > 4096 && *(u32 *)(x0 + 0x44) & 1\n\n"
        "At a function's entry its arguments have their names, if the guest's types are known: those of a Linux\n"
        "kernel are. $comm, $pid and $task are the running task's:\n\n"
        '    kprobe do_sys_openat2 if how->flags & 0x40 && $comm == "sh" print "%s", filename\n\n'
        "pid=, comm= and tree= are conditions too, for one task, for those of a name, or for a process and all that\n"
        "it has started: kprobe vfs_read tree=123\n\n"
        "x0 to x30 are s64 and w0 to w30 s32. sp, pc, pstate and system registers, such as $esr_el1, are u64. A\n"
        "symbol stands for its address. Types are u8 to u64, s8 to s64 and those of C. A condition that cannot be\n"
        "evaluated stops the guest. At gdb's own prompt gdb compiles the condition, like those of its breakpoints.\n\n"
        "With print, trace shows the given values for each hit, as they are before the instruction, in a format as\n"
        "of C's printf:\n\n"
        '    kprobe do_filp_open print "open %s", *(char **)x1\n\n'
        "With record=, only these stages and registers are recorded. memory= and strings= also record memory as it is\n"
        "before the instruction. trace shows both:\n\n"
        "    kprobe vfs_write record=pre,x0,x2 memory=sp:32 strings=*(char**)x0",
        (
            Arg(
                "place",
                "SYMBOL, SYMBOL+0x10, MODULE:SYMBOL, an address, $REGISTER, a pattern, or t:EVENT (see tracepoints)",
                type=probed,
                complete=complete_place,
            ),
            Option("stop", "stages to stop at", many=True, choices=("pre", "post")),
            Option("quiet", "yes: count hits, but do not record them", choices=("yes",)),
            *TASK_OPTIONS,
            *_recorded("pre,x0,x2"),
            _CODE,
            _CONDITION,
            _NOTE,
        ),
        _kprobe,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "kretprobe",
        "Put a kretprobe on a function, which shows its calls and their results.\n"
        "Each hit is recorded with all registers at the stages entry and return. The commands regs and trace show\n"
        "them. With stop= the guest also stops at these stages. A pattern, such as vfs_*, puts a kretprobe on each\n"
        "function that matches, and counts the refusals by reason.\n\n"
        "With if, armprobe records and stops for only those calls for which the condition holds (see kprobe). The\n"
        "condition is evaluated at the return. retval is the result with its own type, or x0 as an s64 if that is\n"
        "not known. $elapsed is the guest time of the call in ns:\n\n"
        "    kretprobe do_sys_openat2 if retval < 0\n\n"
        "With at=entry the condition is evaluated at the entry, on the arguments. The values of print are those at\n"
        "the return.",
        (
            Arg(
                "function",
                "a function: SYMBOL, MODULE:SYMBOL, its address, $REGISTER, or a pattern",
                type=probed,
                complete=complete_symbol,
            ),
            Option("stop", "stages to stop at", many=True, choices=("entry", "return")),
            Option(
                "maxactive", "maximum of calls waited for at once (0: the kernel's default)", type=integer, default=0
            ),
            Option("quiet", "yes: count hits, but do not record them", choices=("yes",)),
            Option(
                "at",
                "stage at which the condition is evaluated",
                choices=("entry", "return"),
                default="return",
            ),
            *TASK_OPTIONS,
            *_recorded("entry,return,x0"),
            _CODE,
            _CONDITION,
            _NOTE,
        ),
        _kretprobe,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "jprobe",
        "Put a jprobe on a function, which shows its arguments at each call. Only --era v4.8 has jprobes.\n"
        "Each hit is recorded with all registers at the stage entry. The command regs shows them. With stop= the\n"
        "guest also stops there.",
        (
            Arg("function", "a function: SYMBOL, its address, or $REGISTER", type=probed, complete=complete_symbol),
            Option("stop", "stages to stop at", many=True, choices=("entry",)),
            Option("quiet", "yes: count hits, but do not record them", choices=("yes",)),
            *TASK_OPTIONS,
            _CODE,
            _CONDITION,
            _NOTE,
        ),
        _jprobe,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "probes",
        "List the probes with their hits and misses.",
        (
            Arg("probe", f"{_WHICH} (default: all)", optional=True, complete=complete_probe),
            Option("top", "show only this many, those with the most hits first", type=integer),
        ),
        _probes,
        group=GROUP,
        gdb_info="kprobes",
    ),
    Command(
        "blacklist",
        "List the areas in which the kernel allows no probe, as its debugfs does: start, end, name.",
        (Arg("pattern", "pattern of names (default: *)", optional=True, default="*"),),
        _blacklist,
        group=GROUP,
    ),
    Command(
        "enable",
        "Arm a disabled probe again, or a breakpoint, by its number.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _enable,
        aliases=("en",),
        group=GROUP,
        gdb="kprobe-enable",
        changes_state=True,
    ),
    Command(
        "disable",
        "Disarm a probe or a breakpoint, and keep its counts.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _disable,
        aliases=("dis",),
        group=GROUP,
        gdb="kprobe-disable",
        changes_state=True,
    ),
    Command(
        "unregister",
        "Remove a probe. The guest's code is again as it was before.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _unregister,
        group=GROUP,
        changes_state=True,
    ),
)
