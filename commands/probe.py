# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that set probes and show what they saw."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from armprobe.probes import Hit, Jprobe, Kprobe, Kretprobe, Probe, ProbeError, Stage, is_pattern
from armprobe.probes.record import TRACED_STAGE

from .batches import register_matching
from .condition import program
from .errors import CommandError
from .locations import complete_symbol, number_of_address
from .registers import pt_regs_text
from .registry import Arg, Arguments, Clause, Command, Option, Out, integer

if TYPE_CHECKING:
    from armprobe.session import Session

P = TypeVar("P", Kprobe, Kretprobe, Jprobe)
GROUP = "Probes"
_MOST_LINES: Final = 20
_MOST_ACTIVE: Final = 4096  # KRETPROBE_MAXACTIVE_MAX, kernel/trace/trace_kprobe.c


def _target(word: str) -> dict[str, int | str]:
    """How the user named the place, as the arguments of Kprobe and Kretprobe."""
    if word[:1].isdigit():
        return {"addr": number_of_address(word)}
    return {"symbol_name": word}


def _kprobe(session: Session, arguments: Arguments, out: Out) -> None:
    asked = program(session, arguments, Stage.PRE, Stage.PRE)

    def make(**where: Any) -> Kprobe:
        return Kprobe(
            **where,
            stop=map(Stage, arguments.stop),
            record=not arguments.quiet,
            condition=asked.condition,
            note=asked.note,
        )

    if is_pattern(arguments.place):
        register_matching(session, arguments.place, make, out)
    else:
        _register(session, session.kprobes.register_kprobe, make(**_target(arguments.place)), out)


def _kretprobe(session: Session, arguments: Arguments, out: Out) -> None:
    if arguments.maxactive > _MOST_ACTIVE:
        raise CommandError(f"maxactive can be {_MOST_ACTIVE} at most, as in the kernel's kprobe_events")

    at = Stage(arguments.at)
    asked = program(session, arguments, at, Stage.RETURN)

    def make(**where: Any) -> Kretprobe:
        stages = map(Stage, arguments.stop)
        return Kretprobe(
            **where,
            maxactive=arguments.maxactive,
            stop=stages,
            record=not arguments.quiet,
            condition=asked.condition,
            condition_at=at,
            note=asked.note,
        )

    if is_pattern(arguments.function):
        register_matching(session, arguments.function, make, out)
    else:
        _register(session, session.kprobes.register_kretprobe, make(**_target(arguments.function)), out)


def _jprobe(session: Session, arguments: Arguments, out: Out) -> None:
    asked = program(session, arguments, Stage.ENTRY, Stage.ENTRY)
    probe = Jprobe(
        **_target(arguments.function),  # type: ignore[arg-type]
        stop=map(Stage, arguments.stop),
        record=not arguments.quiet,
        condition=asked.condition,
        note=asked.note,
    )
    _register(session, session.kprobes.register_jprobe, probe, out)


def _register(session: Session, register: Callable[[P], P], probe: P, out: Out) -> None:
    try:
        register(probe)
    except ProbeError:
        # Where it is accepted this is one of its warnings.
        if ambiguity := session.machine.symbols.ambiguity(probe.symbol_name or ""):
            session.remark(f"warning: {ambiguity}\n")
        raise
    _added(session, probe, out)


def _added(session: Session, probe: Probe, out: Out) -> None:
    number = session.add_probe(probe)
    address = probe.addr or 0
    stops = f", stops at {', '.join(_stops(probe))}" if probe.stop else ""
    stops += f", if {probe.condition}" if probe.condition else ""
    stops += f", prints {probe.note}" if probe.note else ""
    out(f"{probe.kind} {number}: {session.machine.symbols.describe(address)} at {address:#x}{stops}\n")
    for warning in probe.warnings:
        out(f"warning: {warning}\n")


def _stops(probe: Probe) -> list[str]:
    """The stages it stops at, in the order in which they come."""
    return [stage.value for stage in Stage if stage in probe.stop]


def _probes(session: Session, arguments: Arguments, out: Out) -> None:
    if not session.probes:
        out("no probes; set one with: kprobe SYMBOL\n")
        return
    session.kprobes.list()  # which finds out whose text is gone
    chosen = _selected(session, arguments.probe or "all")
    if arguments.top is not None:
        chosen = sorted(chosen, key=lambda item: -item[1].hits)[: max(arguments.top, 0)]
    out(f"{'num':>3}  {'kind':<9}  {'where':<36}  {'hits':>9}  {'nmissed':>7}\n")
    for number, probe in chosen:
        where = f"{probe.addr or 0:#x} {_name(session, probe)}"
        notes = " [GONE]" if probe.gone else " [DISABLED]" if probe.disabled else ""
        notes += f" stop={','.join(_stops(probe))}" if probe.stop else ""
        notes += f" leaked={probe.leaked}" if isinstance(probe, Kretprobe) and probe.leaked else ""
        notes += f" met={probe.met} if {probe.condition}" if probe.condition else ""
        out(f"{number:>3}  {probe.kind:<9}  {where:<36}  {probe.hits:>9}  {_missed(probe):>7}{notes}\n")


def _missed(probe: Probe) -> int:
    return probe.nmissed + (probe.kp.nmissed if isinstance(probe, Kretprobe) else 0)


def _name(session: Session, probe: Probe) -> str:
    """What it was called, or what is at the address that it was given."""
    return probe.name if probe.symbol_name is not None else session.machine.symbols.describe(probe.addr or 0)


def _selected(session: Session, word: str) -> list[tuple[int, Probe]]:
    """The probes that `word` means: a number, a name or a pattern (every probe it matches), or "all"."""
    found = [
        (number, probe)
        for number, probe in session.probes.items()
        if word in (str(number), probe.name, f"{probe.addr or 0:#x}", "all")
        or (is_pattern(word) and fnmatch.fnmatchcase(_name(session, probe), word))
    ]
    if not found and word != "all":
        raise CommandError(f"there is no probe {word!r}: probes lists them by number and name")
    return found


def complete_probe(session: Session, word: str) -> Iterable[str]:
    return ["all", *(str(number) for number in session.probes), *(probe.name for probe in session.probes.values())]


def _each(chosen: Sequence[tuple[int, Probe]], done: str, out: Out) -> None:
    """Say that something was done to each, or to how many if they are more than one cares to read."""
    for number, probe in chosen if len(chosen) <= _MOST_LINES else ():
        out(f"{probe.kind} {number} ({probe.name}) is {done}\n")
    if len(chosen) > _MOST_LINES:
        out(f"{len(chosen):,} probes are {done}\n")


def _enable(session: Session, arguments: Arguments, out: Out) -> None:
    chosen = _selected(session, arguments.probe)
    for _, probe in chosen:
        session.kprobes.enable(probe)
    _each(chosen, "enabled", out)


def _disable(session: Session, arguments: Arguments, out: Out) -> None:
    chosen = _selected(session, arguments.probe)
    for _, probe in chosen:
        session.kprobes.disable(probe)
    _each(chosen, "disabled", out)


def _unregister(session: Session, arguments: Arguments, out: Out) -> None:
    chosen = _selected(session, arguments.probe)
    session.kprobes.unregister_kprobes(probe for _, probe in chosen)
    for number, probe in chosen:
        del session.probes[number]
        if len(chosen) <= _MOST_LINES:
            out(f"{probe.kind} {number} ({probe.name}) is gone: {probe.hits} hits, {_missed(probe)} missed\n")
    if len(chosen) > _MOST_LINES:
        hits, missed = sum(probe.hits for _, probe in chosen), sum(_missed(probe) for _, probe in chosen)
        out(f"{len(chosen):,} probes are gone: {hits:,} hits, {missed:,} missed\n")


def _blacklist(session: Session, arguments: Arguments, out: Out) -> None:
    shown = [area for area in session.kprobes.blacklist if fnmatch.fnmatchcase(area.name, arguments.pattern)]
    if not shown:
        raise CommandError(f"nothing on the blacklist matches {arguments.pattern!r}")
    for area in shown:
        out(f"{area.start:#018x}-{area.end:#018x}\t{area.name}\n")


def last_hit(session: Session, word: str | None) -> list[Hit]:
    """The stages, oldest first, of the last hit of a probe (by default of the probe that was hit last)."""
    wanted = None if word is None else [probe for _, probe in _selected(session, word)]
    last: Hit | None = None
    stages: list[Hit] = []
    for hit in reversed(session.kprobes.hits):
        if wanted is not None and not any(hit.probe is probe for probe in wanted):
            continue
        if last is None:
            last = hit
        if hit.probe is last.probe and hit.number == last.number:
            stages.append(hit)
    if not stages:
        raise CommandError("no hit is recorded yet: let the guest run with a probe set")
    return stages[::-1]


def _regs(session: Session, arguments: Arguments, out: Out) -> None:
    _show_regs(session, last_hit(session, arguments.probe), arguments.stage, out)


def _pt_regs(session: Session, arguments: Arguments, out: Out) -> None:
    hit = session.stop.detail
    stages = last_hit(session, None) if not isinstance(hit, Hit) else _stages(session, hit)
    _show_regs(session, stages, arguments.stage or stages[-1].stage.value, out)


def _stages(session: Session, last: Hit) -> list[Hit]:
    """The stages of a hit, oldest first, up to `last`; those before it as far as they are recorded."""
    return [*(h for h in session.kprobes.hits if (h.probe, h.number) == (last.probe, last.number) and h != last), last]


def _show_regs(session: Session, stages: list[Hit], stage: str | None, out: Out) -> None:
    wanted = [hit for hit in stages if stage in (None, hit.stage.value)]
    if not wanted:
        last, had = stages[-1], ", ".join(hit.stage.value for hit in stages)
        raise CommandError(f"hit {last.number} of {last.probe.name} has not recorded the stage {stage}: it has {had}")
    for hit in wanted:
        out(f"{hit.probe.kind} {hit.probe.name}, hit {hit.number}, stage {hit.stage.value}:\n")
        out(pt_regs_text(session, hit.regs))


def _trace(session: Session, arguments: Arguments, out: Out) -> None:
    shown = [hit for hit in session.kprobes.hits if hit.stage is TRACED_STAGE[hit.probe.kind]]
    hits = shown[-arguments.count :] if arguments.count > 0 else []
    if not hits:
        out("no hit is recorded yet: let the guest run with a probe set\n")
    for hit in hits:
        out(session.kprobes.trace_line(hit) + "\n")


_CONDITION: Final = Clause("if", "condition", "a condition, to the end of the line", complete=complete_symbol)
_NOTE: Final = Clause(
    "print", "note", 'what trace is to show of each hit: print "%s %d", *(char **)x1, w0', complete=complete_symbol
)
_CODE: Final = Option("code", "the condition as gdb has compiled it: operations of an agent expression", many=True)
_WHICH: Final = "number, name or pattern of names, or all"

COMMANDS = (
    Command(
        "kprobe",
        "Put a kprobe on an instruction.\n"
        "Each hit is recorded with all registers at the stages pre (before the instruction) and post (after it); see\n"
        "regs and trace. With stop= the guest also stops there. A pattern, such as vfs_*, puts one on each function\n"
        "that matches; what cannot be probed is counted by reason.\n\n"
        "With if only hits are recorded and stopped for at which the condition holds before the instruction; probes\n"
        "shows how many met it. It is an expression of C, of registers, numbers, symbols and memory:\n\n"
        "    kprobe vfs_read if x2 > 4096 && *(u32 *)(x0 + 0x44) & 1\n\n"
        "x0 to x30 are s64 and w0 to w30 s32; sp, pc, pstate and system registers, as $esr_el1, are u64. A symbol\n"
        "stands for its address. Types are u8 to u64, s8 to s64 and those of C. What cannot be evaluated stops the\n"
        "guest. At gdb's own prompt gdb compiles the condition, as it does those of its breakpoints.\n\n"
        "With print trace shows of each hit what you choose, in the format of C's printf, as it is before the\n"
        "instruction:\n\n"
        '    kprobe do_filp_open print "open %s", *(char **)x1',
        (
            Arg("place", "SYMBOL, SYMBOL+0x10, MODULE:SYMBOL, an address, or a pattern", complete=complete_symbol),
            Option("stop", "stages to stop at", many=True, choices=("pre", "post")),
            Option("quiet", "yes: count hits without recording them", choices=("yes",)),
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
        "Put a kretprobe on a function, to see its calls and what they return.\n"
        "Each hit is recorded with all registers at the stages entry and return; see regs and trace. With stop= the\n"
        "guest also stops there. A pattern, such as vfs_*, puts one on each function that matches; what cannot be\n"
        "probed is counted by reason.\n\n"
        "With if only calls are recorded and stopped for of which the condition holds, see kprobe. It is asked at\n"
        "the return, where retval is x0, the result, as an s64; of a function that returns an int take w0:\n\n"
        "    kretprobe do_sys_openat2 if retval < 0\n\n"
        "With at=entry it is asked at the entry, of the arguments. print prints at the return.",
        (
            Arg("function", "a function: SYMBOL, MODULE:SYMBOL, its address, or a pattern", complete=complete_symbol),
            Option("stop", "stages to stop at", many=True, choices=("entry", "return")),
            Option("maxactive", "calls waited for at once (0: as many as the era's kernel)", type=integer, default=0),
            Option("quiet", "yes: count hits without recording them", choices=("yes",)),
            Option(
                "at", "where the condition is asked (default: return)", choices=("entry", "return"), default="return"
            ),
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
        "Put a jprobe on a function: its arguments at each call. Only --era v4.8 has jprobes.\n"
        "Each hit is recorded with all registers at the stage entry; see regs. With stop= the guest also stops there.",
        (
            Arg("function", "the function's SYMBOL, or its address", complete=complete_symbol),
            Option("stop", "stages to stop at", many=True, choices=("entry",)),
            Option("quiet", "yes: count hits without recording them", choices=("yes",)),
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
        "List the probes, with their hits and misses.",
        (
            Arg("probe", f"{_WHICH} (default: all)", optional=True, complete=complete_probe),
            Option("top", "how many to show, those with the most hits first", type=integer),
        ),
        _probes,
        group=GROUP,
        gdb_info="kprobes",
    ),
    Command(
        "blacklist",
        "List where no probe can be, as the kernel's debugfs does: start, end, name.",
        (Arg("pattern", "of the names (default: *)", optional=True, default="*"),),
        _blacklist,
        group=GROUP,
    ),
    Command(
        "enable",
        "Arm a disabled probe again.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _enable,
        group=GROUP,
        gdb="kprobe-enable",
        changes_state=True,
    ),
    Command(
        "disable",
        "Disarm a probe without losing its counts.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _disable,
        group=GROUP,
        gdb="kprobe-disable",
        changes_state=True,
    ),
    Command(
        "unregister",
        "Remove a probe; the text is as it was before.",
        (Arg("probe", _WHICH, complete=complete_probe),),
        _unregister,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "regs",
        "Show pt_regs of the last hit, at each of its stages.",
        (
            Arg("probe", "its number or name (default: the one hit last)", optional=True, complete=complete_probe),
            Option("stage", "one stage only", choices=tuple(stage.value for stage in Stage)),
        ),
        _regs,
        group=GROUP,
    ),
    Command(
        "pt-regs",
        "Show pt_regs of the hit that the guest is stopped for, at the stage it is at or at an earlier one.\n"
        "Where it is stopped for no hit, of the last one.",
        (Arg("stage", "the stage", choices=tuple(stage.value for stage in Stage), optional=True),),
        _pt_regs,
        group=GROUP,
    ),
    Command(
        "trace",
        "Show the last hits, one line each, as the kernel's own trace file has them.",
        (Arg("count", "how many lines", type=integer, optional=True, default=20),),
        _trace,
        group=GROUP,
        gdb="kprobe-trace",
    ),
)
